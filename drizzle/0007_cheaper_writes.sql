DROP INDEX "idempotency_keys_created";--> statement-breakpoint
CREATE INDEX "idempotency_keys_old" ON "idempotency_keys" USING brin ("created_at");--> statement-breakpoint
-- As before, 48 bits of milliseconds and 12 of their fraction; one expression, which Postgres plans into the statement.
create or replace function uuid_v7() returns uuid language sql volatile parallel safe as $$
  select (
    overlay(
      lpad(to_hex((date_part('epoch', clock_timestamp()) * 1000000)::bigint * 512 / 125), 15, '0')
      placing '7' from 13 for 0
    ) || substr(gen_random_uuid()::text, 20)
  )::uuid
$$;
