/** @jsxImportSource hono/jsx */
import type { Notification } from '../notifications/schema.ts';
import { Ago, Badge, Table } from './parts.tsx';

type Props = { notifications: Notification[]; now: Date; choose?: string | undefined };

/** Notifications as a table. With `choose`, each has a checkbox that belongs to the form with that id. */
export function NotificationList({ notifications, now, choose }: Props) {
  return (
    <Table
      label="Notifications"
      rows={notifications}
      columns={[
        choose
          ? [
              <span class="hidden">Choose</span>,
              ({ id, type }) => (
                <input type="checkbox" name="id" value={id} form={choose} aria-label={`Choose ${type} ${id}`} />
              ),
            ]
          : undefined,
        [
          'Type',
          ({ id, type, lastError }) => (
            <>
              <a href={`/console/notifications/${id}`}>{type}</a>
              {lastError !== null && <span class="quiet phone">{lastError}</span>}
            </>
          ),
          'long',
        ],
        ['Status', ({ status }) => <Badge status={status} />],
        ['Channel', ({ channel }) => channel, 'wide'],
        ['Attempts', ({ attempts }) => attempts, 'number wide'],
        ['Last error', ({ lastError }) => lastError ?? <span class="quiet">–</span>, 'long wide'],
        ['Created', ({ createdAt }) => <Ago at={createdAt} now={now} />],
      ]}
    />
  );
}
