import { type SQL, sql } from 'drizzle-orm';
import { rfc3339 } from '../db.ts';
import { webhookEndpoints } from '../webhook-endpoints/schema.ts';
import { deliveries, messages, notifications } from './schema.ts';

/**
 * What to tell, as SQL over the CTE `from`: at most one row, the change. `data` is JSON, as GET shows the resource;
 * `email` is the address to write to, where someone is to be written to.
 */
export type Event = { from: SQL; type: SQL; userId: SQL; data: SQL; email?: SQL };

/**
 * The CTEs `told`, `message`, `notification` and `queued`: splice them into the statement that makes the change, and
 * the change and its notifications commit together. Everyone subscribed to the type is told. Ring `wake` afterwards.
 */
export function queue({ from, type, userId, data, email }: Event): SQL {
  const byEmail = email && sql`union all select 'email', null, ${email}, ${userId} from ${from}`;
  return sql`told as (
    select 'webhook' as channel, e.id as endpoint_id, null::text as recipient, ${userId} as user_id
    from ${from}, ${webhookEndpoints} e
    where e.status <> 'disabled' and e.events && array[${type}, '*']
    ${byEmail}
  ), message as (
    insert into ${messages} (id, type, body, created_at)
    select uuid_v7(), ${type},
           json_build_object('type', ${type}, 'timestamp', ${rfc3339(sql`now()`)}, 'data', ${data})::text, now()
    from ${from} where exists (select from told)
    returning id
  ), notification as (
    insert into ${notifications} (id, message_id, channel, endpoint_id, user_id, recipient, created_at)
    select uuid_v7(), message.id, told.channel, told.endpoint_id, told.user_id, told.recipient, now()
    from message, told
    returning id, endpoint_id
  ), queued as (
    insert into ${deliveries} (notification_id, endpoint_id, due_at)
    select n.id, n.endpoint_id, coalesce(e.paused_until, now())
    from notification n left join ${webhookEndpoints} e on e.id = n.endpoint_id and e.paused_until > now()
  )`;
}
