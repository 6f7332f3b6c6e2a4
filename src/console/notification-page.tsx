/** @jsxImportSource hono/jsx */
import type { PropsWithChildren } from 'hono/jsx';
import type { Ctx } from '../http/context.ts';
import { MAX_ATTEMPTS, type WholeNotification } from '../notifications/store.ts';
import type { WebhookEndpoint } from '../webhook-endpoints/schema.ts';
import { hasScope, Page } from './layout.tsx';
import { Act, Ago, Badge, duration, Facts, isRefresh, Live, Payload, Unchanged, When } from './parts.tsx';
import { verification } from './payload.ts';

type Props = { c: Ctx; notification: WholeNotification; endpoint: WebhookEndpoint | undefined };

/** One notification: its history, its payload, and the actions on it. */
export function NotificationPage({ c, notification, endpoint }: Props) {
  const { id, type, status, channel, userId, endpointId } = notification;
  const life = (
    <>
      <Facts
        of={{
          Status: <Badge status={status} />,
          Channel: channel,
          Endpoint: endpointId && (
            <>
              {endpoint && <Badge status={endpoint.status} />}{' '}
              <Link to={hasScope(c, 'webhooks:read') && `/console/endpoints/${endpointId}`}>
                {endpoint?.url ?? endpointId}
              </Link>
            </>
          ),
          User: userId && <Link to={hasScope(c, 'users:read') && `/console/users/${userId}`}>{userId}</Link>,
          Id: <code class="long">{id}</code>,
        }}
      />
      <h2>Timeline</h2>
      <Timeline notification={notification} now={c.env.now()} />
      {hasScope(c, 'notifications:write') && <Actions notification={notification} />}
    </>
  );
  return (
    <Page c={c} title={type}>
      <Unchanged c={c} />
      {status === 'pending' ? (
        <Live c={c} everyS={refreshS(notification, c.env.now())}>
          {life}
        </Live>
      ) : (
        life
      )}
      {!isRefresh(c) && <Sent notification={notification} url={endpoint?.url ?? 'https://example.com/'} />}
    </Page>
  );
}

/**
 * Returns the seconds until the next refresh: half the time to the next attempt, or since it was due, within 2 to 30; 2
 * during an attempt, when `dueAt` is the end of its lease.
 */
function refreshS({ dueAt, leased }: WholeNotification, now: Date): number {
  const awayS = dueAt === null || leased ? 0 : Math.abs(Date.parse(dueAt) - now.getTime()) / 1000;
  return Math.min(30, Math.max(2, Math.round(awayS / 2)));
}

function Sent({ notification: { id, channel, payload }, url }: { notification: WholeNotification; url: string }) {
  return (
    <>
      <h2>Payload</h2>
      <Payload text={payload} />
      {channel === 'webhook' && <Verify id={id} payload={payload} url={url} />}
    </>
  );
}

/** A link, if the operator may open it. */
function Link({ to, children }: PropsWithChildren<{ to: string | false }>) {
  if (to === false) return <span class="long">{children}</span>;
  return (
    <a class="long" href={to}>
      {children}
    </a>
  );
}

function Timeline({ notification, now }: { notification: WholeNotification; now: Date }) {
  const { attemptLog, status, dueAt, leased, createdAt, finishedAt } = notification;
  const last = attemptLog.length - 1;
  const isWhole = attemptLog.length < MAX_ATTEMPTS;
  return (
    <ol class="timeline">
      <li>
        <When at={createdAt} exact /> <span>Created</span>
      </li>
      {!isWhole && <li>Earlier attempts are not shown.</li>}
      {attemptLog.map(({ at, durationMs, status: http, error }, n) => {
        const isSuccess = n === last && status === 'sent';
        return (
          <li class={isSuccess ? 'sent' : 'failed'}>
            <When at={at} exact />{' '}
            <span>
              {isWhole ? `Attempt ${n + 1}` : 'Attempt'}: {error ?? (http === null ? 'delivered' : `HTTP ${http}`)}{' '}
              <span class="quiet">in {duration(durationMs)}</span>
            </span>
          </li>
        );
      })}
      {leased ? (
        <li class="pending">Being delivered</li>
      ) : status === 'pending' && dueAt !== null ? (
        <li class="pending">
          <When at={dueAt} exact />{' '}
          <span>
            {attemptLog.length === 0 ? 'Due' : 'Next attempt'} <Ago at={dueAt} now={now} />
          </span>
        </li>
      ) : (
        <li class={status}>
          <When at={finishedAt} exact /> <Badge status={status} />
        </li>
      )}
    </ol>
  );
}

function Actions({ notification: { id, status, leased } }: { notification: WholeNotification }) {
  const at = `/console/notifications/${id}`;
  return (
    <div class="actions">
      {status === 'dead' && (
        <Act to={`${at}/redrive`} kind="primary">
          Redrive
        </Act>
      )}
      {status === 'pending' && !leased && (
        <Act to={`${at}/cancel`} kind="danger">
          Cancel
        </Act>
      )}
    </div>
  );
}

function Verify({ id, payload, url }: { id: string; payload: string; url: string }) {
  const { sign, send } = verification({ id, payload, url });
  return (
    <>
      <h2>Signature</h2>
      <details>
        <summary>Verify it in a shell</summary>
        <p>
          This prints the signature to compare. Set <code>SECRET</code> to the endpoint's signing secret, and{' '}
          <code>TIMESTAMP</code> to the webhook-timestamp that was received.
        </p>
        <pre>
          <code>{sign}</code>
        </pre>
        <p>To send the same webhook with it, to this URL or another:</p>
        <pre>
          <code>{send}</code>
        </pre>
      </details>
    </>
  );
}
