insert into users (id, email, name, created_at, updated_at)
select uuid_v7(), 'user' || i || '@seed.test', 'Seed User', now(), now() from generate_series(1, :rows) i;
