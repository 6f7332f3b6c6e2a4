/** @jsxImportSource hono/jsx */
import { scope } from '../http/auth.ts';
import { type Ctx, router } from '../http/context.ts';
import { storedAnswer } from '../http/idempotency.ts';
import { byId } from '../http/validate.ts';
import type { Notification } from '../notifications/schema.ts';
import { changeStatus, rotate, sendTest } from '../webhook-endpoints/routes.ts';
import type { WebhookEndpoint, WebhookEndpointHealth, WebhookEndpointWithSecret } from '../webhook-endpoints/schema.ts';
import {
  enableEndpoint,
  findEndpoint,
  healthOfEndpoint,
  healthOfEndpoints,
  listEndpoints,
  pauseEndpoint,
} from '../webhook-endpoints/store.ts';
import { keyOf, listed, render, seeOther, unlessChanged, versionOf } from './http.tsx';
import { hasScope, Page } from './layout.tsx';
import { Act, Ago, Badge, Empty, Facts, Next, Notice, number, Table, textOf, Unchanged, When } from './parts.tsx';

/** Webhook endpoints: their health, and the actions on them. */
export const endpointsPages = router()
  .get('/', async (c) => {
    const { data, cursor } = await listed(c, listEndpoints, {});
    const ids = data.map(({ id }) => id);
    const health = ids.length > 0 ? await healthOfEndpoints(c.env.db, ids, c.get('signal')) : new Map();
    return render(
      c,
      <Page c={c} title="Endpoints">
        {data.length > 0 ? (
          <List endpoints={data} health={health} />
        ) : (
          <Empty>
            There is no webhook endpoint yet. <code>POST /api/v1/webhook-endpoints</code> creates one.
          </Empty>
        )}
        <Next cursor={cursor} />
      </Page>,
    );
  })
  .get('/:id', byId, async (c) => {
    const { id } = c.req.valid('param');
    const [endpoint, health] = await Promise.all([
      findEndpoint(c.env.db, id, c.get('signal')),
      healthOfEndpoint(c.env.db, id, c.get('signal')),
    ]);
    const done = c.req.query('done');
    // A page that is reloaded may no longer be as the form left it.
    const holds = done === 'tested' || done === endpoint.status;
    const notice = holds ? textOf(DONE, done) : undefined;
    return render(c, <One c={c} endpoint={endpoint} health={health} notice={notice} />);
  })
  .post('/:id/pause', scope('webhooks:write'), byId, async (c) => {
    const { id } = c.req.valid('param');
    const act = () => changeStatus(c, pauseEndpoint, id, versionOf(c));
    return unlessChanged(c, `/console/endpoints/${id}`, act, { done: 'paused' });
  })
  .post('/:id/enable', scope('webhooks:write'), byId, async (c) => {
    const { id } = c.req.valid('param');
    const act = () => changeStatus(c, enableEndpoint, id, versionOf(c));
    return unlessChanged(c, `/console/endpoints/${id}`, act, { done: 'enabled' });
  })
  .post('/:id/rotate', scope('webhooks:write'), byId, async (c) => {
    const { id } = c.req.valid('param');
    const { stored } = await rotate(c, id, keyOf(c));
    // A form that is sent twice gets the first response. The secret is shown here, and stored only sealed.
    const { body } = storedAnswer<WebhookEndpointWithSecret, 200>(stored);
    return render(c, <NewSecret c={c} id={id} secret={await c.env.secrets.open(body.secret)} />);
  })
  .post('/:id/test', scope('webhooks:write'), byId, async (c) => {
    const { id } = c.req.valid('param');
    const { stored } = await sendTest(c, id, keyOf(c));
    const sent = storedAnswer<Notification, 202>(stored).body;
    if (hasScope(c, 'notifications:read')) return seeOther(c, `/console/notifications/${sent.id}`);
    return seeOther(c, `/console/endpoints/${id}?done=tested`);
  });

const DONE: Record<string, string> = {
  paused: 'Paused. Notifications are queued until you enable it.',
  enabled: 'Enabled.',
  tested: 'A test event is queued.',
};

type ListProps = { endpoints: WebhookEndpoint[]; health: Map<string, WebhookEndpointHealth> };

function List({ endpoints, health }: ListProps) {
  const rows = endpoints.map((endpoint) => ({ ...endpoint, its: health.get(endpoint.id) }));
  return (
    <Table
      label="Endpoints"
      rows={rows}
      columns={[
        [
          'Endpoint',
          ({ id, url, description }) => (
            <>
              <a href={`/console/endpoints/${id}`}>{url}</a>
              {description && <span class="quiet block">{description}</span>}
            </>
          ),
          'long',
        ],
        ['Status', ({ status }) => <Badge status={status} />],
        ['Success', ({ its }) => (its ? successOf(its) : '–'), 'number'],
        ['Pending of the last 100', ({ its }) => its?.pending ?? '–', 'number wide'],
        ['Failures in a row', ({ its }) => its?.failures ?? '–', 'number wide'],
      ]}
    />
  );
}

/** The success rate of the sent and dead among the last 100 notifications. */
function successOf({ sent, dead }: WebhookEndpointHealth): string {
  return sent + dead === 0 ? '–' : `${number((100 * sent) / (sent + dead))} %`;
}

type OneProps = { c: Ctx; endpoint: WebhookEndpoint; health: WebhookEndpointHealth; notice: string | undefined };

function One({ c, endpoint, health, notice }: OneProps) {
  const { id, url, events, description, status } = endpoint;
  const isOver = health.pausedUntil !== null && Date.parse(health.pausedUntil) <= c.env.now().getTime();
  const pause =
    health.pausedUntil === null ? (
      'until it is enabled'
    ) : (
      <>
        {isOver ? 'ended' : 'until'} <When at={health.pausedUntil} />
        {isOver && '; deliveries have resumed'}
      </>
    );
  return (
    <Page c={c} title="Endpoint">
      {notice && <Notice>{notice}</Notice>}
      <Unchanged c={c} />
      <Facts
        of={{
          URL: <span class="long">{url}</span>,
          Status: <Badge status={status} />,
          Paused: status === 'paused' ? pause : undefined,
          Events: events.join(', '),
          Description: description || undefined,
          'Success rate': `${successOf(health)} of the last ${number(health.sent + health.dead)}`,
          'Pending of the last 100': number(health.pending),
          'Failures in a row': number(health.failures),
          'Failing since': health.failingSince ? <When at={health.failingSince} /> : undefined,
          Id: <code class="long">{id}</code>,
        }}
      />
      {hasScope(c, 'webhooks:write') && <Actions endpoint={endpoint} health={health} isOver={isOver} />}
      <h2>Last failures</h2>
      <Failures c={c} failures={health.lastFailures} />
      {hasScope(c, 'notifications:read') && (
        <p>
          <a href={`/console/notifications?endpointId=${id}`}>Notifications for this endpoint</a>
        </p>
      )}
    </Page>
  );
}

/** What happens to a test event. */
const TESTED = { paused: 'A test waits until the pause ends.', disabled: 'A test is not sent: it fails at once.' };

/** `isOver`: an automatic pause has ended. */
type ActionsProps = { endpoint: WebhookEndpoint; health: WebhookEndpointHealth; isOver: boolean };

function Actions({ endpoint: { id, status, version }, health, isOver }: ActionsProps) {
  const at = `/console/endpoints/${id}`;
  const shown = { version: String(version) };
  return (
    <div class="actions">
      {status !== 'enabled' && (
        <Act to={`${at}/enable`} fields={shown} kind="primary">
          Enable
        </Act>
      )}
      {(status === 'enabled' || health.pausedUntil !== null) && (
        <Act to={`${at}/pause`} fields={shown}>
          Pause
        </Act>
      )}
      <Act to={`${at}/test`} fields={{ key: crypto.randomUUID() }}>
        Send a test
      </Act>
      {status !== 'enabled' && !isOver && <span class="quiet">{TESTED[status]}</span>}
      <details>
        <summary>Rotate the secret…</summary>
        <p>The new secret is shown once. The old one also signs for 24 hours.</p>
        <Act to={`${at}/rotate`} fields={{ key: crypto.randomUUID() }} kind="danger">
          Rotate
        </Act>
      </details>
    </div>
  );
}

function Failures({ c, failures }: { c: Ctx; failures: WebhookEndpointHealth['lastFailures'] }) {
  if (failures.length === 0) return <Empty>None of its last 100 notifications failed.</Empty>;
  return (
    <ul class="rows">
      {failures.map(({ notificationId, at, status, error }) => (
        <li>
          {hasScope(c, 'notifications:read') ? (
            <a href={`/console/notifications/${notificationId}`}>
              <Ago at={at} now={c.env.now()} />
            </a>
          ) : (
            <Ago at={at} now={c.env.now()} />
          )}
          <span>{error ?? (status === null ? 'No response' : `HTTP ${status}`)}</span>
        </li>
      ))}
    </ul>
  );
}

function NewSecret({ c, id, secret }: { c: Ctx; id: string; secret: string }) {
  return (
    <Page c={c} title="New secret">
      <div class="card stack">
        <p>Copy it now: it is not shown again. The old one also signs for 24 hours.</p>
        <pre>
          <code>{secret}</code>
        </pre>
      </div>
      <p>
        <a href={`/console/endpoints/${id}`}>Back to the endpoint</a>
      </p>
    </Page>
  );
}
