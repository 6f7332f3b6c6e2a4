import { type SQL, sql } from 'drizzle-orm';
import { rfc3339 } from '../db.ts';
import { deliveries, messages, notifications, webhookEndpoints } from './schema.ts';

/** What to tell, as SQL over the CTE `from`: at most one row, the change. `data` is JSON, as GET shows the resource. */
export type Event = {
  from: SQL;
  type: SQL;
  data: SQL;
  /** The user that it is about, if any. */
  userId?: SQL;
};

const NOBODY = sql`null::uuid`;

// By one clock, the database's: to the millisecond as the API shows it, and cut rather than rounded, as it shows `due_at`.
const made = sql`date_trunc('milliseconds', now())`;

/** To each endpoint that is subscribed to the event. */
export function toSubscribers({ from, type, userId = NOBODY }: Event): SQL {
  return sql`select uuid_v7() as id, 'webhook' as channel, e.id as endpoint_id, null::text as recipient,
           ${userId} as user_id
    from ${from}, ${webhookEndpoints} e where e.status <> 'disabled' and e.events && array[${type}, '*']`;
}

/** By email to `address`, as the notification `id`. */
export function byEmail({ from, userId = NOBODY }: Event, address: SQL, id = sql`uuid_v7()`): SQL {
  return sql`select ${id} as id, 'email' as channel, null::uuid as endpoint_id, ${address} as recipient,
           ${userId} as user_id
    from ${from}`;
}

/** To the endpoint `endpointId` alone, subscribed or not, as the notification `id`. */
export function toEndpoint({ from, userId = NOBODY }: Event, endpointId: SQL, id: SQL): SQL {
  return sql`select ${id} as id, 'webhook' as channel, ${endpointId} as endpoint_id, null::text as recipient,
           ${userId} as user_id
    from ${from}`;
}

/**
 * The CTEs `told`, `message`, `notification` and `queued`: splice them into the statement that makes the change, and
 * the change and its notifications commit together. Ring `wake` afterwards.
 */
export function enqueue(event: Event, recipients: SQL[] = [toSubscribers(event)]): SQL {
  const { from, type, data } = event;
  return sql`told as (
    ${sql.join(recipients, sql` union all `)}
  ), message as (
    insert into ${messages} (id, type, body, created_at)
    select uuid_v7(), ${type},
           json_build_object('type', ${type}, 'timestamp', ${rfc3339(made)}, 'data', ${data})::text, ${made}
    from ${from} where exists (select from told)
    returning id, octet_length(body) as bytes
  ), notification as (
    insert into ${notifications} (id, message_id, channel, endpoint_id, user_id, recipient, created_at)
    select told.id, message.id, told.channel, told.endpoint_id, told.user_id, told.recipient, ${made}
    from message, told
  ), queued as (
    insert into ${deliveries} (notification_id, endpoint_id, due_at, bytes)
    select told.id, told.endpoint_id, now(), message.bytes from message, told
  )`;
}

/**
 * What a POST answers that queues the notification `id`, for `reserveKey` in the statement that queues it: the
 * notification as GET shows it until it is claimed.
 */
export function queuedAnswer(shown: Record<'id' | 'type' | 'channel' | 'userId' | 'endpointId', SQL>): SQL {
  const { id, type, channel, userId, endpointId } = shown;
  const at = rfc3339(made);
  return sql`json_build_object(
    'status', 202, 'headers', json_build_object('Location', '/api/v1/notifications/' || ${id}),
    'body', json_build_object('id', ${id}, 'type', ${type}, 'channel', ${channel}, 'status', 'pending',
      'userId', ${userId}, 'endpointId', ${endpointId}, 'attempts', 0, 'dueAt', ${at}, 'sentAt', null,
      'lastError', null, 'createdAt', ${at})
  )::text`;
}
