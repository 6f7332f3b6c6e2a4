-- Whoever holds the table for long, as a dump does, must not have every request queue up behind this: it fails, and may
-- be run again. The old index stays for the old version, which finds nobody by the new one.
set local lock_timeout = '5s';--> statement-breakpoint
LOCK TABLE "users" IN SHARE MODE;--> statement-breakpoint
-- Where the database's language has another case than ASCII's, as Turkish has, there may be two of an address.
do $$
declare
  doubles text;
begin
  select string_agg(ids, '; ') into doubles from (
    select string_agg(id::text, ' and ' order by id) as ids from users
    group by lower(email collate "C") having count(*) > 1 order by min(id::text) limit 100
  ) same;
  if doubles is not null then
    raise exception using errcode = 'unique_violation', message =
      'Some users have the same email address but for the case of its letters. Nothing was changed. Give all but one of'
      ' each another address, or delete them, and migrate again. Their ids: ' || doubles;
  end if;
end $$;
--> statement-breakpoint
CREATE UNIQUE INDEX "users_email_caseless" ON "users" USING btree (lower("email" collate "C"));
