/** @jsxImportSource hono/jsx */
import type { Notification } from '../notifications/schema.ts';
import { Ago, Badge } from './parts.tsx';

/** Notifications as a table. With `choose`, each has a checkbox of the form with that id. */
export function NotificationList({
  notifications,
  now,
  choose,
}: {
  notifications: Notification[];
  now: Date;
  choose?: string | undefined;
}) {
  return (
    <table aria-label="Notifications">
      <thead>
        <tr>
          {choose && (
            <th scope="col">
              <span class="hidden">Choose</span>
            </th>
          )}
          <th scope="col">Type</th>
          <th scope="col">Status</th>
          <th scope="col" class="wide">
            Channel
          </th>
          <th scope="col" class="number wide">
            Attempts
          </th>
          <th scope="col" class="wide">
            Last error
          </th>
          <th scope="col">Created</th>
        </tr>
      </thead>
      <tbody>
        {notifications.map(({ id, type, status, channel, attempts, lastError, createdAt }) => (
          <tr>
            {choose && (
              <td>
                <input type="checkbox" name="id" value={id} form={choose} aria-label={`Choose ${type} ${id}`} />
              </td>
            )}
            <td class="long">
              <a href={`/console/notifications/${id}`}>{type}</a>
              {lastError !== null && <span class="quiet phone">{lastError}</span>}
            </td>
            <td>
              <Badge status={status} />
            </td>
            <td class="wide">{channel}</td>
            <td class="number wide">{attempts}</td>
            <td class="long wide">{lastError ?? <span class="quiet">–</span>}</td>
            <td>
              <Ago at={createdAt} now={now} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
