-- One endpoint, the harness's sink, with a secret sealed under the key in dispatch.json.
insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
values ('0199b8a0-0000-7000-8000-00000000bec4', ':sink', array['bench.job'],
        'v1.71e01b71.CnWE_Xi9saTSrK8R.R_ImFVqAp6PIvOX6WxkaPd8zr8DJWBjFpUU86ETq9XkyQJQ677hy25mW20f2lbr82AeVgmPwKJBYRkxtB_RiUPKZ', now(), now());
