-- A version 7 UUID (RFC 9562) of this very moment, its sub-millisecond part in rand_a, so that ids made in order sort
-- in order. Postgres 18 has uuidv7() of its own; Neon and PGlite may be older.
create function uuid_v7() returns uuid language plpgsql volatile parallel safe as $$
declare
  us constant bigint := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
begin
  return lpad(to_hex(us / 1000), 12, '0') || to_hex(28672 + (us % 1000) * 4096 / 1000)
    || substr(gen_random_uuid()::text, 20);
end
$$;
