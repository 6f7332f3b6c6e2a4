import { type SQL, sql } from 'drizzle-orm';
import { rfc3339 } from '../db.ts';
import { deliveries, messages, notifications, webhookEndpoints } from './schema.ts';

/**
 * What to tell, as SQL over the CTE `from`: at most one row, the change. `data` is JSON, as GET shows the resource.
 * `email` is the address to write to, where someone is to be written to; `only` narrows the endpoints `e` that are
 * told from those subscribed to the type to those it is true of. Ids are made here unless given.
 */
export type Event = {
  from: SQL;
  type: SQL;
  userId: SQL;
  data: SQL;
  email?: SQL;
  only?: SQL;
  emailId?: SQL;
  webhookId?: SQL;
};

/**
 * The CTEs `told`, `message`, `notification` and `queued`: splice them into the statement that makes the change, and
 * the change and its notifications commit together. Ring `wake` afterwards.
 */
export function enqueue({ from, type, userId, data, email, only, emailId, webhookId }: Event): SQL {
  const newId = sql`uuid_v7()`;
  const subscribed = sql`e.status <> 'disabled' and e.events && array[${type}, '*']`;
  const byEmail =
    email && sql`union all select ${emailId ?? newId}, 'email', null, ${email}, ${userId}, now() from ${from}`;
  return sql`told as (
    select ${webhookId ?? newId} as id, 'webhook' as channel, e.id as endpoint_id, null::text as recipient,
           ${userId} as user_id, greatest(now(), e.paused_until) as due_at
    from ${from}, ${webhookEndpoints} e where ${only ?? subscribed}
    ${byEmail ?? sql``}
  ), message as (
    insert into ${messages} (id, type, body, created_at)
    select uuid_v7(), ${type},
           json_build_object('type', ${type}, 'timestamp', ${rfc3339(sql`now()`)}, 'data', ${data})::text, now()
    from ${from} where exists (select from told)
    returning id
  ), notification as (
    insert into ${notifications} (id, message_id, channel, endpoint_id, user_id, recipient, created_at)
    select told.id, message.id, told.channel, told.endpoint_id, told.user_id, told.recipient, now()
    from message, told
  ), queued as (
    insert into ${deliveries} (notification_id, endpoint_id, due_at)
    select id, endpoint_id, due_at from told
  )`;
}
