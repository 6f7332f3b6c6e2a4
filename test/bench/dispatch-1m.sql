-- As dispatch.sql, beside a million notifications that were sent.
insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
values ('0199b8a0-0000-7000-8000-00000000bec4', ':sink', array['bench.job'],
        'v1.71e01b71.CnWE_Xi9saTSrK8R.R_ImFVqAp6PIvOX6WxkaPd8zr8DJWBjFpUU86ETq9XkyQJQ677hy25mW20f2lbr82AeVgmPwKJBYRkxtB_RiUPKZ', now(), now());
with made as (
  select uuid_v7() as id from generate_series(1, 1000000)
), m as (
  insert into messages (id, type, body, created_at) select id, 'bench.job', '{}', now() from made
), n as (
  insert into notifications (id, message_id, channel, endpoint_id, created_at)
  select id, id, 'webhook', '0199b8a0-0000-7000-8000-00000000bec4', now() from made
)
insert into outcomes (notification_id, status, attempts, finished_at, duration_ms, http_status, dispatcher)
select id, 'sent', 1, now(), 3, 204, 'bench' from made;
