import { type Placeholder, type SQL, sql } from 'drizzle-orm';
import { messages } from '../outbox/schema.ts';

/** The filters of a list and of a bulk action, besides the status. */
export const FILTERS = ['type', 'endpointId', 'userId', 'channel', 'createdAfter', 'createdBefore', 'text'] as const;

/** Each filter as SQL: text, or null if it matches everything. */
type Given = Record<(typeof FILTERS)[number], Placeholder | SQL>;

/** Whether the notification `n` matches, apart from its message. */
export const matchesWithoutMessage = (given: Given): SQL => sql`
  (${given.endpointId}::uuid is null or n.endpoint_id = ${given.endpointId}::uuid)
  and (${given.userId}::uuid is null or n.user_id = ${given.userId}::uuid)
  and (${given.channel}::text is null or n.channel = ${given.channel}::text)
  and (${given.createdAfter}::timestamptz is null or n.created_at >= ${given.createdAfter}::timestamptz)
  and (${given.createdBefore}::timestamptz is null or n.created_at < ${given.createdBefore}::timestamptz)`;

/** Whether the message `m` matches. The text is a substring of its body as it is sent, not a pattern. */
export const matchesMessage = (given: Given): SQL => sql`
  (${given.type}::text is null or m.type = ${given.type}::text)
  and (${given.text}::text is null or strpos(m.body, ${given.text}::text) > 0)`;

/** Whether the notification `n` matches. Its message is read only if a filter asks for it. */
export const matches = (given: Given): SQL => sql`
  ${matchesWithoutMessage(given)} and ((${given.type}::text is null and ${given.text}::text is null) or exists (
    select from ${messages} m where m.id = n.message_id and ${matchesMessage(given)}
  ))`;

/** The filters in the JSON `json`. */
export const filtersIn = (json: SQL): Given =>
  Object.fromEntries(FILTERS.map((name) => [name, sql`(${json} ->> ${sql.raw(`'${name}'`)})`])) as Given;
