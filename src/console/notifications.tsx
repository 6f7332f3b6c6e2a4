/** @jsxImportSource hono/jsx */
import { v7 as uuidv7 } from 'uuid';
import type { Action } from '../actions/schema.ts';
import { AppError } from '../errors.ts';
import { scope } from '../http/auth.ts';
import { actorOf, type Ctx, router } from '../http/context.ts';
import { reservationOf, storedAnswer } from '../http/idempotency.ts';
import { cursorTo, pageOfQuery } from '../http/page.ts';
import { notFound } from '../http/problem.ts';
import { byId } from '../http/validate.ts';
import { type BulkFilter, CancelInput, NotificationQuery, RedriveInput } from '../notifications/schema.ts';
import {
  type Bulk,
  cancelNotification,
  changeNotifications,
  countMatching,
  type NotificationPage as Found,
  findWholeNotification,
  listNotifications,
  redriveNotification,
  startBulk,
} from '../notifications/store.ts';
import { findEndpoint } from '../webhook-endpoints/store.ts';
import { formOf, keyOf, PAGE_ROWS, render, seeOther, unlessChanged, unlessGone } from './http.tsx';
import { hasScope, Page } from './layout.tsx';
import {
  FilterForm,
  filtersOf,
  type Given,
  givenFilters,
  onlyFilters,
  parsedFilters,
} from './notification-filters.tsx';
import { NotificationList } from './notification-list.tsx';
import { NotificationPage } from './notification-page.tsx';
import { Act, Empty, Facts, Next, Notice, number, queryOf } from './parts.tsx';

const AT = '/console/notifications';
const BULKS: readonly Bulk[] = ['redrive', 'cancel'];
const TITLES = { redrive: 'Redrive', cancel: 'Cancel' };
/** The status that a bulk action applies to. */
const ABOUT = { redrive: 'dead', cancel: 'pending' } as const;

/** Notifications: finds, shows, redrives and cancels them, one or many. */
export const notificationsPages = router()
  .get('/', async (c) => {
    const given = givenFilters(c.req.query());
    const { filters, problems } = parsedFilters(NotificationQuery(), given);
    const query = { ...filters, limit: PAGE_ROWS, cursor: c.req.query('cursor') };
    const found: Found = problems
      ? { data: [], next: null }
      : await listNotifications(c.env.db, { ...query, ...pageOfQuery(c, query) }, c.get('signal'));
    const changed = c.req.query('changed') ?? '';
    return render(
      c,
      <Page c={c} title="Notifications">
        {/^[1-9]\d{0,2}$/.test(changed) && <Notice>{changed} changed.</Notice>}
        {changed === '0' && (
          <Notice kind="neutral">
            Nothing was changed: already done, being delivered, or changed in the meantime.
          </Notice>
        )}
        {changed === 'none' && <Notice kind="neutral">Nothing was chosen.</Notice>}
        <FilterForm given={given} problems={problems ?? {}} />
        {!problems && <Results c={c} given={given} found={found} />}
        <Next cursor={cursorTo(c, query, found.next)} query={given} />
      </Page>,
      problems ? 422 : 200,
    );
  })
  .get('/all/:bulk', scope('notifications:write'), async (c) => {
    const bulk = bulkOf(c.req.param('bulk'));
    const given = onlyFilters(c.req.query());
    const matching = await countMatching(c.env.db, bulk, bulkFilterOf(bulk, given), c.get('signal'));
    return render(c, <ConfirmAll c={c} bulk={bulk} given={given} matching={matching} />);
  })
  .post('/all/:bulk', scope('notifications:write'), async (c) => {
    const bulk = bulkOf(c.req.param('bulk'));
    const { key: _, ...form } = formOf(c);
    const filter = bulkFilterOf(bulk, onlyFilters(form));
    const reservation = reservationOf(c, { filter }, undefined, keyOf(c));
    const row = await startBulk(c.env.db, bulk, { filter, ...reservation, id: uuidv7() }, c.get('signal'));
    c.env.wake();
    return seeOther(c, `/console/actions/${storedAnswer<Action, 202>(row).body.id}`);
  })
  .post('/chosen', scope('notifications:write'), (c) => {
    const ids = idsOf(c);
    const form = formOf(c);
    const bulk = bulkOf(form.bulk);
    const given = givenFilters(form);
    if (ids.length === 0) return seeOther(c, `${AT}${queryOf({ ...given, ...pageIn(form), changed: 'none' })}`);
    return render(c, <ConfirmChosen c={c} bulk={bulk} given={{ ...given, ...pageIn(form) }} ids={ids} />);
  })
  .post('/chosen/:bulk', scope('notifications:write'), async (c) => {
    const change = { ids: idsOf(c), ...actorOf(c) };
    const changed = await changeNotifications(c.env.db, bulkOf(c.req.param('bulk')), change, c.get('signal'));
    c.env.wake();
    const form = formOf(c);
    return seeOther(c, `${AT}${queryOf({ ...givenFilters(form), ...pageIn(form), changed: String(changed) })}`);
  })
  .get('/:id', byId, async (c) => {
    const notification = await findWholeNotification(c.env.db, c.req.valid('param').id, c.get('signal'));
    const { endpointId } = notification;
    const endpoint =
      endpointId !== null && hasScope(c, 'webhooks:read')
        ? await findEndpoint(c.env.db, endpointId, c.get('signal')).catch(unlessGone)
        : undefined;
    return render(c, <NotificationPage c={c} notification={notification} endpoint={endpoint} />);
  })
  .post('/:id/redrive', scope('notifications:write'), byId, async (c) => {
    const by = { ...c.req.valid('param'), ...actorOf(c) };
    return unlessChanged(c, `${AT}/${by.id}`, async () => {
      await redriveNotification(c.env.db, by, c.get('signal'));
      c.env.wake();
    });
  })
  .post('/:id/cancel', scope('notifications:write'), byId, async (c) => {
    const by = { ...c.req.valid('param'), ...actorOf(c) };
    return unlessChanged(c, `${AT}/${by.id}`, () => cancelNotification(c.env.db, by, c.get('signal')), {
      unchanged: 'not-canceled',
    });
  });

/** The list page that a form is on, apart from its filters. */
const pageIn = ({ cursor }: Record<string, string | undefined>): Given => (cursor ? { cursor } : {});

/** The ids that were chosen on a page of the list. */
const idsOf = (c: Ctx): string[] =>
  [...new Set(c.get('form').getAll('id'))]
    .filter((id) => /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id))
    .slice(0, PAGE_ROWS);

/** Throws AppError `not-found`. */
function bulkOf(name: string | undefined): Bulk {
  const bulk = BULKS.find((each) => each === name);
  if (!bulk) throw notFound();
  return bulk;
}

/** Throws AppError `validation-failed`. */
function bulkFilterOf(bulk: Bulk, given: Given): BulkFilter {
  const schema = bulk === 'redrive' ? RedriveInput() : CancelInput();
  const parsed = schema.safeParse({ filter: filtersOf(given) });
  if (!parsed.success) throw new AppError('validation-failed', 'A filter is not valid. Nothing was changed.');
  return parsed.data.filter;
}

type ResultsProps = { c: Ctx; given: Given; found: Found };

function Results({ c, given, found: { data, next } }: ResultsProps) {
  const mayWrite = hasScope(c, 'notifications:write');
  const bulks = BULKS.filter((bulk) => (given.status ?? ABOUT[bulk]) === ABOUT[bulk]);
  const isActive = mayWrite && bulks.length > 0;
  return (
    <>
      {data.length > 0 ? (
        <NotificationList notifications={data} now={c.env.now()} choose={isActive ? 'chosen' : undefined} />
      ) : (
        <Empty>{noneFound(given, next !== null, c.req.query('cursor'))}</Empty>
      )}
      {isActive && (data.length > 0 || next !== null) && (
        <div class="actions">
          {data.length > 0 && <ActOnChosen given={{ ...given, ...pageIn(c.req.query()) }} bulks={bulks} />}
          {bulks.map((bulk) => (
            <a href={`${AT}/all/${bulk}${queryOf({ ...given, status: undefined })}`}>{TITLES[bulk]} all that match…</a>
          ))}
        </div>
      )}
    </>
  );
}

function ActOnChosen({ given, bulks }: { given: Given; bulks: Bulk[] }) {
  return (
    <form method="post" action={`${AT}/chosen`} id="chosen" class="inline">
      {Object.entries(given).map(([name, value]) => (
        <input type="hidden" name={name} value={value} />
      ))}
      {bulks.map((bulk) => (
        <button type="submit" name="bulk" value={bulk}>
          {TITLES[bulk]} chosen…
        </button>
      ))}
    </form>
  );
}

function noneFound(given: Given, isMore: boolean, cursor?: string) {
  if (cursor && !isMore) {
    return (
      <>
        None on this page. <a href={`${AT}${queryOf(given)}`}>Go to the first page</a>
      </>
    );
  }
  if (isMore) return 'None among the 10,000 that this page looked at. There are more.';
  return Object.keys(given).length > 0 ? 'No notification matches.' : 'No notification yet.';
}

type ConfirmAllProps = { c: Ctx; bulk: Bulk; given: Given; matching: number };

function ConfirmAll({ c, bulk, given, matching }: ConfirmAllProps) {
  const title = `${TITLES[bulk]} all that match`;
  return (
    <Page c={c} title={title}>
      <p class="big">
        <strong>{number(matching)}</strong> {ABOUT[bulk]}{' '}
        {matching === 1 ? 'notification matches' : 'notifications match'}.
      </p>
      {Object.keys(given).length > 0 ? <Facts of={given} /> : <p>No filter: these are all of them.</p>}
      <Confirm
        to={`${AT}/all/${bulk}`}
        bulk={bulk}
        fields={{ ...given, key: crypto.randomUUID() }}
        count={matching}
        back={`${AT}${queryOf({ ...given, status: ABOUT[bulk] })}`}
      />
    </Page>
  );
}

type ConfirmChosenProps = { c: Ctx; bulk: Bulk; given: Given; ids: string[] };

function ConfirmChosen({ c, bulk, given, ids }: ConfirmChosenProps) {
  return (
    <Page c={c} title={`${TITLES[bulk]} chosen`}>
      <p class="big">
        <strong>{ids.length}</strong> {ids.length === 1 ? 'notification is' : 'notifications are'} chosen. Those that
        are not {ABOUT[bulk]} stay as they are.
      </p>
      <Confirm
        to={`${AT}/chosen/${bulk}`}
        bulk={bulk}
        fields={given}
        ids={ids}
        count={ids.length}
        back={`${AT}${queryOf(given)}`}
      />
    </Page>
  );
}

type ConfirmProps = {
  to: string;
  bulk: Bulk;
  fields?: Record<string, string>;
  ids?: string[];
  count: number;
  back: string;
};

function Confirm({ to, bulk, fields = {}, ids = [], count, back }: ConfirmProps) {
  return (
    <div class="actions">
      {count > 0 && (
        <Act to={to} fields={fields} ids={ids} kind={bulk === 'cancel' ? 'danger' : 'primary'}>
          {TITLES[bulk]} {number(count)}
        </Act>
      )}
      <a href={back}>Go back without changes</a>
    </div>
  );
}
