/** @jsxImportSource hono/jsx */
import type { Action } from '../actions/schema.ts';
import { findAction, listActions, stopAction } from '../actions/store.ts';
import { scope } from '../http/auth.ts';
import { actorOf, type Ctx, router } from '../http/context.ts';
import { byId } from '../http/validate.ts';
import { listed, render, unlessChanged } from './http.tsx';
import { hasScope, Page } from './layout.tsx';
import { Act, Ago, Badge, Empty, Facts, Live, Next, number, Table, Unchanged, When } from './parts.tsx';

/** What people did, and the progress of bulk actions. */
export const actionsPages = router()
  .get('/', async (c) => {
    const { data, cursor } = await listed(c, listActions, {});
    return render(
      c,
      <Page c={c} title="Actions">
        {data.length > 0 ? <List actions={data} now={c.env.now()} /> : <Empty>No actions yet.</Empty>}
        <Next cursor={cursor} />
      </Page>,
    );
  })
  .get('/:id', byId, async (c) => {
    const action = await findAction(c.env.db, c.req.valid('param').id, c.get('signal'));
    const shown = <One c={c} action={action} />;
    return render(
      c,
      <Page c={c} title={titleOf(action.action)}>
        <Unchanged c={c} />
        {action.status === 'running' ? (
          <Live c={c} everyS={1}>
            {shown}
          </Live>
        ) : (
          shown
        )}
      </Page>,
    );
  })
  .post('/:id/stop', scope('notifications:write'), byId, async (c) => {
    const by = { ...c.req.valid('param'), ...actorOf(c) };
    return unlessChanged(c, `/console/actions/${by.id}`, () => stopAction(c.env.db, by, c.get('signal')));
  });

/** `webhook_endpoint.rotate_secret` in words. */
function titleOf(action: string): string {
  const [what = '', done = ''] = action.replaceAll('_', ' ').split('.');
  return `${done.charAt(0).toUpperCase()}${done.slice(1)} ${what}`;
}

function List({ actions, now }: { actions: Action[]; now: Date }) {
  return (
    <Table
      label="Actions"
      rows={actions}
      columns={[
        ['Action', ({ id, action }) => <a href={`/console/actions/${id}`}>{titleOf(action)}</a>],
        ['Who', ({ sub }) => sub, 'long'],
        ['Status', ({ status }) => <Badge status={status} />],
        ['Done', progressOf, 'number wide'],
        ['When', ({ createdAt }) => <Ago at={createdAt} now={now} />],
      ]}
    />
  );
}

const progressOf = ({ done, matching }: Action) => `${number(done)} of ${number(matching)}`;

function One({ c, action }: { c: Ctx; action: Action }) {
  const { id, action: name, sub, status, matching, done, createdAt, finishedAt, targetId } = action;
  const isOnMany = targetId === null;
  return (
    <>
      {isOnMany && (
        <p class="progress">
          <progress aria-label="Progress" max={Math.max(1, matching)} value={done} />
          <span>{progressOf(action)}</span>
        </p>
      )}
      <Facts
        of={{
          Status: <Badge status={status} />,
          Who: sub,
          Started: <When at={createdAt} />,
          Ended: finishedAt === null ? undefined : <When at={finishedAt} />,
          Target: targetId === null ? undefined : <Target c={c} name={name} id={targetId} />,
          ...(action.filter as Record<string, string> | null),
        }}
      />
      {status === 'running' && hasScope(c, 'notifications:write') && (
        <div class="actions">
          <Act to={`/console/actions/${id}/stop`} kind="danger">
            Stop
          </Act>
          <span class="quiet">What is done stays done.</span>
        </div>
      )}
    </>
  );
}

const PAGES: Record<string, { page: string; scope: string }> = {
  notification: { page: 'notifications', scope: 'notifications:read' },
  webhook_endpoint: { page: 'endpoints', scope: 'webhooks:read' },
  action: { page: 'actions', scope: 'notifications:read' },
};

/** A link, if the operator may open it and the action did not delete its target. */
function Target({ c, name, id }: { c: Ctx; name: string; id: string }) {
  const [kind = '', done] = name.split('.');
  const { page, scope } = PAGES[kind] ?? {};
  return scope && hasScope(c, scope) && done !== 'delete' ? (
    <a class="long" href={`/console/${page}/${id}`}>
      {id}
    </a>
  ) : (
    <code class="long">{id}</code>
  );
}
