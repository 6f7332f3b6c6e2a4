/** @jsxImportSource hono/jsx */
import { scope } from '../http/auth.ts';
import { type Ctx, router } from '../http/context.ts';
import type { Stats } from '../stats/schema.ts';
import { readStats } from '../stats/store.ts';
import { render, seeOther } from './http.tsx';
import { firstSection, hasScope, Page } from './layout.tsx';
import { Ago, duration, Live, number, When } from './parts.tsx';
import { MinutesPlot, SharesPlot } from './plots.tsx';

const REFRESH_S = 5;

/** Whether notifications flow, and what is stuck. */
export const overviewPages = router()
  .get('/', async (c, next) => {
    // Operators who may not see it start at the first one that they may see.
    const first = firstSection(c);
    if (first && first.path !== '/console') return seeOther(c, first.path);
    await next();
  })
  .get('/', scope('notifications:read'), async (c) => {
    const stats = await readStats(c.env.db, c.get('signal'));
    return render(
      c,
      <Page c={c} title="Overview">
        <Live c={c} everyS={REFRESH_S} alarm={<Alarm dispatchers={stats.dispatchers} />}>
          <Overview c={c} stats={stats} />
        </Live>
      </Page>,
    );
  });

function Overview({ c, stats }: { c: Ctx; stats: Stats }) {
  return (
    <>
      <Dispatchers dispatchers={stats.dispatchers} now={c.env.now()} />
      <Figures stats={stats} />
      <h2>Deliveries per minute</h2>
      <MinutesPlot minutes={stats.minutes} />
      <div class="columns">
        <section>
          <h2>Wait and run</h2>
          <SharesPlot
            title={`On average ${durationOrDash(stats.waitMs)} of waiting and ${durationOrDash(stats.runMs)} of running`}
            parts={[
              {
                name: 'waiting for the first attempt',
                value: stats.waitMs ?? 0,
                shown: durationOrDash(stats.waitMs),
                kind: 'wait',
              },
              { name: 'an attempt', value: stats.runMs ?? 0, shown: durationOrDash(stats.runMs), kind: 'run' },
            ]}
          />
        </section>
        <Endpoints c={c} endpoints={stats.endpoints} />
      </div>
    </>
  );
}

const aliveOf = (dispatchers: Stats['dispatchers']) => dispatchers.filter(({ alive }) => alive);

function Alarm({ dispatchers }: { dispatchers: Stats['dispatchers'] }) {
  if (aliveOf(dispatchers).length > 0) return null;
  const last = dispatchers[0];
  return (
    <p class="alarm">
      <strong>No dispatcher is alive.</strong> Nothing is delivered.{' '}
      {last ? (
        <>
          The last one, {last.id}, was seen at <When at={last.lastSeen} />.
        </>
      ) : (
        'None was seen in the last hour.'
      )}
    </p>
  );
}

function Dispatchers({ dispatchers, now }: { dispatchers: Stats['dispatchers']; now: Date }) {
  const alive = aliveOf(dispatchers);
  if (alive.length === 0) return null;
  return (
    <p class="dispatchers">
      <span class="badge sent">
        {alive.length} {alive.length === 1 ? 'dispatcher' : 'dispatchers'} alive
      </span>{' '}
      {alive.map(({ id, lastSeen }) => (
        <span class="quiet">
          {id}, <Ago at={lastSeen} now={now} />
        </span>
      ))}
    </p>
  );
}

type Count = Stats['depth']['pending'];

const durationOrDash = (ms: number | null): string => (ms === null ? '–' : duration(ms));

const counted = ({ count, estimated }: Count) => `${estimated ? 'about ' : ''}${number(count)}`;

function Figures({ stats: { latencyMs, depth, oldestDueS } }: { stats: Stats }) {
  const list = (status: string) => `/console/notifications?status=${status}`;
  const figures: { name: string; value: string; href?: string; kind?: string | false }[] = [
    { name: 'pending', value: counted(depth.pending), href: list('pending') },
    { name: 'age of the oldest due', value: oldestDueS === null ? '–' : duration(oldestDueS * 1000) },
    { name: 'dead', value: counted(depth.dead), href: list('dead'), kind: depth.dead.count > 0 && 'bad' },
    { name: 'p50, commit to delivery', value: durationOrDash(latencyMs.p50) },
    { name: 'p99, commit to delivery', value: durationOrDash(latencyMs.p99) },
    { name: 'sent', value: counted(depth.sent), href: list('sent') },
  ];
  return (
    <dl class="figures">
      {figures.map(({ name, value, href, kind }) => (
        <div class={kind || undefined}>
          <dt>{name}</dt>
          <dd>{href ? <a href={href}>{value}</a> : value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Endpoints({ c, endpoints }: { c: Ctx; endpoints: Stats['endpoints'] }) {
  const { enabled, paused, disabled } = endpoints;
  return (
    <section>
      <h2>Endpoints</h2>
      <SharesPlot
        title={`${counted(enabled)} enabled, ${counted(paused)} paused and ${counted(disabled)} disabled endpoints`}
        parts={[
          { name: 'enabled', value: enabled.count, shown: counted(enabled), kind: 'enabled' },
          { name: 'paused', value: paused.count, shown: counted(paused), kind: 'paused' },
          { name: 'disabled', value: disabled.count, shown: counted(disabled), kind: 'disabled' },
        ]}
      />
      {hasScope(c, 'webhooks:read') && (
        <p>
          <a href="/console/endpoints">All endpoints</a>
        </p>
      )}
    </section>
  );
}
