import { type SQL, sql } from 'drizzle-orm';
import { rfc3339 } from '../db.ts';
import { deliveries, messages, notifications, webhookEndpoints } from './schema.ts';

/** An event, as SQL over the CTE `from`, which has at most one row: the change. `data` is JSON, as GET returns it. */
export type Event = {
  from: SQL;
  type: SQL;
  data: SQL;
  /** The user that it concerns, if any. */
  userId?: SQL;
};

const NOBODY = sql`null::uuid`;

// Bound by the database of a request that is part of a trace (`carrying`), otherwise null.
const traceparent = sql`${sql.placeholder('traceparent')}::text`;

// The database's clock. Truncated to milliseconds, not rounded, as `due_at` is in responses.
const made = sql`date_trunc('milliseconds', now())`;

/** The endpoints that subscribe to the event, as recipients. */
export function toSubscribers({ from, type, userId = NOBODY }: Event): SQL {
  return sql`select uuid_v7() as id, 'webhook' as channel, e.id as endpoint_id, null::text as recipient,
           ${userId} as user_id
    from ${from}, ${webhookEndpoints} e where e.status <> 'disabled' and e.events && array[${type}, '*']`;
}

/** An email address as the recipient of the notification `id`. */
export function byEmail({ from, userId = NOBODY }: Event, address: SQL, id = sql`uuid_v7()`): SQL {
  return sql`select ${id} as id, 'email' as channel, null::uuid as endpoint_id, ${address} as recipient,
           ${userId} as user_id
    from ${from}`;
}

/** One endpoint, subscribed or not, as the recipient of the notification `id`. */
export function toEndpoint({ from, userId = NOBODY }: Event, endpointId: SQL, id: SQL): SQL {
  return sql`select ${id} as id, 'webhook' as channel, ${endpointId} as endpoint_id, null::text as recipient,
           ${userId} as user_id
    from ${from}`;
}

/**
 * The CTEs `recipients`, `message`, `notification` and `queued`. Add them to the statement that makes the change, so that
 * the change and its notifications commit together. Call `wake` afterwards.
 */
export function enqueue(event: Event, to: SQL[] = [toSubscribers(event)]): SQL {
  const { from, type, data } = event;
  return sql`recipients as (
    ${sql.join(to, sql` union all `)}
  ), message as (
    insert into ${messages} (id, type, body, created_at, traceparent)
    select uuid_v7(), ${type},
           json_build_object('type', ${type}, 'timestamp', ${rfc3339(made)}, 'data', ${data})::text, ${made},
           ${traceparent}
    from ${from} where exists (select from recipients)
    returning id, octet_length(body) as bytes
  ), notification as (
    insert into ${notifications} (id, message_id, channel, endpoint_id, user_id, recipient, created_at)
    select recipients.id, message.id, recipients.channel, recipients.endpoint_id, recipients.user_id, recipients.recipient, ${made}
    from message, recipients
  ), queued as (
    insert into ${deliveries} (notification_id, endpoint_id, message_id, due_at, bytes)
    select recipients.id, recipients.endpoint_id, message.id, now(), message.bytes from message, recipients
  )`;
}

/**
 * The response of a POST that enqueues the notification `id`, for `reserveKey` in the same statement: the notification as
 * GET returns it until it is claimed.
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
