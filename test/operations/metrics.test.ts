// The dashboard, the alerts and the runbook, against the metrics of a running service.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { parser } from '@prometheus-io/lezer-promql';
import pg from 'pg';
import { parse as parseYaml } from 'yaml';
import { newEndpoint, newNotice } from '../conformance/target.ts';
import { createDatabase } from '../support/databases.ts';
import { ownDirectory } from '../support/directories.ts';
import { query } from '../support/postgres-server.ts';
import { type Service, startService } from '../support/service.ts';
import { startSink } from '../support/sink.ts';
import { headers } from '../support/tokens.ts';

const folder = join(import.meta.dirname, '../../docs/operations');
const read = (name: string) => readFileSync(join(folder, name), 'utf8');

type Alert = { alert: string; expr: string; for?: string; labels: Labels; annotations: Labels };
type Labels = Record<string, string>;
type Panel = {
  id: number;
  title: string;
  type: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: { uid: string };
  targets?: { refId: string; expr: string; legendFormat: string }[];
};

const alerts: Alert[] = parseYaml(read('alerts.yml')).groups.flatMap(({ rules }: { rules: Alert[] }) => rules);
const dashboard = JSON.parse(read('dashboard.json'));
const panels: Panel[] = dashboard.panels;
const runbook = read('runbook.md');

/** Replaces Grafana's variables as Grafana does. */
const filledIn = (expr: string) =>
  expr.replaceAll('$job', 'keelson').replaceAll('$instance', '.*').replaceAll('$__rate_interval', '5m');
const targets = panels.flatMap(({ id, targets = [] }) =>
  targets.map(({ refId, expr, legendFormat }) => ({
    name: `panel_${id}_${refId}`,
    expr: filledIn(expr),
    legendFormat,
  })),
);
const expressions = [...alerts.map(({ alert, expr }) => ({ name: alert, expr, legendFormat: '' })), ...targets];

type Matcher = { label: string; op: string; value: string };
type Selector = { metric: string; matchers: Matcher[] };

/** Returns the series that an expression selects and the labels it groups by; throws if it is not PromQL. */
function partsOf(expr: string): { selectors: Selector[]; groupedBy: string[] } {
  const selectors: Selector[] = [];
  const groupedBy: string[] = [];
  parser.parse(expr).iterate({
    enter: ({ name, type, from, to, node }) => {
      const text = expr.slice(from, to);
      if (type.isError) throw new Error(`not PromQL at ${from}: ${expr}`);
      if (name === 'VectorSelector') selectors.push({ metric: text.split('{')[0] as string, matchers: [] });
      if (name === 'UnquotedLabelMatcher') {
        const [label, op, value] = ['LabelName', 'MatchOp', 'StringLiteral'].map((part) => {
          const { from = 0, to = 0 } = node.getChild(part) ?? {};
          return expr.slice(from, to);
        }) as [string, string, string];
        selectors.at(-1)?.matchers.push({ label, op, value: JSON.parse(value) });
      }
      if (name === 'LabelName' && node.parent?.name === 'GroupingLabels') groupedBy.push(text);
    },
  });
  return { selectors, groupedBy };
}

/** The series of a scrape: their labels, by name. */
function seriesOf(scrape: string): Map<string, Labels[]> {
  const lines = scrape.split('\n').filter((line) => line && !line.startsWith('#'));
  const series = lines.map((line) => {
    const [, name = '', labels = ''] = /^(\w+)(?:\{(.*)\})? /.exec(line) ?? [];
    const pairs = Array.from(labels.matchAll(/(\w+)="([^"]*)"/g), ([, label, value]) => [label, value]);
    return { name, labels: Object.fromEntries(pairs) as Labels };
  });
  const byName = Map.groupBy(series, ({ name }) => name);
  return new Map([...byName].map(([name, found]) => [name, found.map(({ labels }) => labels)]));
}

/** Labels that Prometheus adds to every series; its own series. */
const ADDED = ['job', 'instance'];
const ITS_OWN = ['up'];

describe('the metrics that the dashboard and the alerts name', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let sink: Awaited<ReturnType<typeof startSink>>;
  let service: Service;
  let scraped: Map<string, Labels[]>;

  const post = (path: string, body: unknown) =>
    fetch(`${service.url}/api/v1/${path}`, { method: 'POST', headers: headers(), body: JSON.stringify(body) });

  before(async () => {
    database = await createDatabase();
    sink = await startSink();
    service = await startService({ DATABASE_URL: database.url, PROCESSES: '2', REQUEST_TIMEOUT_MS: '3000' });
    // Attempts of every outcome except those that only a stop causes.
    for (const [path, status] of [['/fails', 500] as const, ['/gone', 410] as const]) {
      sink.reply(path, status);
      const hook = { ...newEndpoint(), url: sink.url(path), events: [path.slice(1)] };
      assert.equal((await post('webhook-endpoints', hook)).status, 201);
      assert.equal((await post('notifications', { ...newNotice(), type: path.slice(1) })).status, 202);
    }
    for (const outcome of ['sent', 'retry', 'dead']) await service.line(({ msg }) => msg === `notification ${outcome}`);
    // A request that the database keeps waiting.
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query('begin; lock table idempotency_keys in access exclusive mode');
    assert.equal((await post('notifications', newNotice())).status, 504);
    await client.end();
    const { url } = await service.line(({ msg }) => msg === 'metrics listening');
    // A collector that has not run yet has no series. Scraping makes garbage.
    do scraped = seriesOf(await (await fetch(url as string)).text());
    while (!scraped.has('nodejs_gc_duration_seconds_sum'));
  });
  after(async () => {
    await service?.stop();
    await sink?.close();
    await database?.drop();
  });

  /** What an expression needs and the scrape lacks. */
  function missing({ expr, legendFormat }: { expr: string; legendFormat: string }): string[] {
    const { selectors, groupedBy } = partsOf(expr);
    const problems: string[] = [];
    const known = new Set(ADDED);
    for (const { metric, matchers } of selectors) {
      const series = scraped.get(metric) ?? (ITS_OWN.includes(metric) ? [{}] : []);
      for (const label of series.flatMap(Object.keys)) known.add(label);
      const own = matchers.filter(({ label }) => !ADDED.includes(label));
      const fits = (labels: Labels) =>
        own.every(({ label, op, value }) => {
          const actual = labels[label];
          if (actual === undefined) return false;
          if (op === '=~') return new RegExp(`^(?:${value})$`).test(actual);
          return op === '=' ? actual === value : true;
        });
      if (!series.some(fits)) problems.push(`no series: ${metric} ${JSON.stringify(own)}`);
    }
    for (const label of groupedBy) if (!known.has(label)) problems.push(`no label: ${label}`);
    const shown = groupedBy.length > 0 ? new Set(groupedBy) : known;
    for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
      if (!shown.has(label as string)) problems.push(`no label to show: ${label}`);
    }
    return problems;
  }

  test('are in a scrape, with their labels and the values that they are compared with', () => {
    assert.ok(expressions.length > 30);
    for (const expression of expressions) assert.deepEqual(missing(expression), [], expression.name);
    const wrong = {
      expr: 'sum by (rout) (rate(http_requests_in_flight{stat="x"}[5m])) + nope',
      legendFormat: '{{le}}',
    };
    assert.equal(missing(wrong).length, 4);
    assert.throws(() => partsOf('sum(rate(up[5m])'), /not PromQL/);
  });

  test('are explained in metrics.md', () => {
    const table = [...read('metrics.md').matchAll(/^\| +(`.*?) +\|/gm)].flatMap(([, names = '']) =>
      names.match(/\w+/g),
    );
    const families = [...scraped.keys()].map((name) => name?.replace(/_(bucket|sum|count)$/, ''));
    for (const name of table) {
      assert.ok(
        families.some((family) => family === name || (name?.endsWith('_') && family.startsWith(name))),
        name ?? '',
      );
    }
    const text = read('metrics.md');
    const own = families.filter((name) => !/^(process|nodejs)_/.test(name));
    for (const name of own) assert.ok(text.includes(`\`${name}\``), name);
  });

  test('can be followed by the statements of the runbook', async () => {
    const statements = Array.from(runbook.matchAll(/`(select [^`]+;)`/g), ([, statement]) => statement as string);
    assert.ok(statements.length >= 3);
    for (const statement of statements) await query(database.name, statement);
  });
});

describe('the runbook', () => {
  test('has an entry for each alert and for nothing else: what it means, what to look at, what to do', () => {
    const entries = runbook.split(/^## /m).slice(1);
    assert.deepEqual(
      entries.map((entry) => entry.split('\n')[0]),
      alerts.map(({ alert }) => alert),
    );
    for (const entry of entries) {
      const parts = Array.from(entry.matchAll(/^\*\*(Meaning\.|Look at|Do)\*\*/gm), ([, part]) => part);
      assert.deepEqual(parts, ['Meaning.', 'Look at', 'Do'], entry);
    }
  });

  test('is where each alert leads, which waits, has a severity and says what is wrong', () => {
    for (const { alert, for: wait, labels, annotations } of alerts) {
      assert.match(wait ?? '', /^\d+m$/, alert);
      assert.ok(['critical', 'warning'].includes(labels.severity as string), alert);
      assert.equal(annotations.runbook_url, `docs/operations/runbook.md#${alert.toLowerCase()}`);
      assert.match(annotations.summary ?? '', /\.$/, alert);
    }
  });

  test('names panels that the dashboard has', () => {
    const named = Array.from(
      runbook.matchAll(/[Pp]anels? "([^"]+)"(?: (?:and|with) "([^"]+)")?/g),
      ([, ...titles]) => titles,
    );
    assert.ok(named.length > 10);
    for (const title of named.flat().filter(Boolean))
      assert.ok(
        panels.some((panel) => panel.title === title),
        title,
      );
  });
});

describe('the dashboard', () => {
  test('can be imported: ids and titles are unique, no panel covers another, and the data source is chosen', () => {
    assert.deepEqual([dashboard.uid, dashboard.title], ['keelson', 'Keelson']);
    const variables = dashboard.templating.list.map(({ name }: { name: string }) => name);
    assert.deepEqual(variables, ['datasource', 'job', 'instance']);
    for (const key of ['id', 'title'] as const)
      assert.equal(new Set(panels.map((panel) => panel[key])).size, panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)}:${y + Math.floor(i / w)}`),
    );
    assert.equal(new Set(cells).size, cells.length);
    for (const { type, title, datasource, targets, gridPos } of panels) {
      assert.ok(gridPos.x + gridPos.w <= 24, title);
      if (type === 'row') continue;
      assert.equal(datasource?.uid, `$\{datasource}`, title);
      assert.ok(targets?.length, title);
    }
  });
});

/** What `promtool` says about a file; undefined if promtool is missing. */
function promtool(t: TestContext, args: string[], content: object) {
  const file = join(ownDirectory(t, 'promtool'), 'rules.yml');
  // JSON is YAML.
  writeFileSync(file, JSON.stringify(content));
  const { status, stdout, stderr, error } = spawnSync('promtool', [...args, file], { encoding: 'utf8' });
  if (!error) return { status, output: stdout + stderr };
  t.skip(`promtool (Debian: prometheus) does not run here: ${error.message}`);
}

describe('promtool', () => {
  test('takes every rule, and every expression of the dashboard', (t) => {
    const records = targets.map(({ name, expr }) => ({ record: name, expr }));
    const groups = [...parseYaml(read('alerts.yml')).groups, { name: 'dashboard', rules: records }];
    const found = promtool(t, ['check', 'rules'], { groups });
    if (!found) return;
    assert.equal(found.status, 0, found.output);
    assert.match(found.output, new RegExp(`${expressions.length} rules found`));
    assert.notEqual(
      promtool(t, ['check', 'rules'], { groups: [{ name: 'x', rules: [{ record: 'x', expr: 'sum(' }] }] })?.status,
      0,
    );
  });

  type Case = { series: Record<string, string>; fires?: Labels[] };
  const REQUESTS = 'http_request_duration_seconds_count{job="keelson", route="/notifications"';
  const ATTEMPTS = 'notification_delivery_duration_seconds_count{job="keelson", channel="webhook"';
  const UP = { 'up{job="keelson", instance="a"}': '1x120' };
  const DOWN = { 'up{job="keelson", instance="a"}': '0x120' };
  const slow = (le1: string) => ({
    'http_request_duration_seconds_bucket{job="keelson", route="/notifications", le="1"}': le1,
    'http_request_duration_seconds_bucket{job="keelson", route="/notifications", le="5"}': '0+100x120',
    'http_request_duration_seconds_bucket{job="keelson", route="/notifications", le="+Inf"}': '0+100x120',
  });
  const oldest = (values: string) => ({ 'notifications_oldest_due_age_seconds{job="keelson", instance="a"}': values });
  const lastClaim = (instance: string, values: string) => ({
    [`dispatcher_last_claim_age_seconds{job="keelson", instance="${instance}"}`]: values,
  });
  const job = { job: 'keelson' };

  /** Two hours, one sample per minute. At the end, an alert fires with these labels, or not at all. */
  const cases: Record<string, Case[]> = {
    KeelsonDown: [
      { series: DOWN, fires: [{ ...job, instance: 'a' }] },
      { series: {}, fires: [job] },
      { series: UP },
      { series: { 'up{job="keelson", instance="a"}': '1x118 0 0' } },
    ],
    KeelsonErrors: [
      {
        series: { [`${REQUESTS}, status="200"}`]: '0+980x120', [`${REQUESTS}, status="503"}`]: '0+20x120' },
        fires: [{}],
      },
      { series: { [`${REQUESTS}, status="200"}`]: '0+995x120', [`${REQUESTS}, status="503"}`]: '0+5x120' } },
      { series: { [`${REQUESTS}, status="200"}`]: '0+2x120', [`${REQUESTS}, status="503"}`]: '0x117 1 1 1' } },
      { series: { [`${REQUESTS.replace('/notifications', '/ready')}, status="503"}`]: '0+60x120' } },
    ],
    KeelsonSlow: [{ series: slow('0+50x120'), fires: [{}] }, { series: slow('0+100x120') }],
    KeelsonDatabaseUnavailable: [
      { series: UP, fires: [job] },
      { series: { ...UP, ...oldest('0x120') } },
      { series: DOWN },
    ],
    KeelsonDispatcherStalled: [
      { series: { ...UP, ...lastClaim('a', '0+60x120') }, fires: [{}] },
      { series: UP, fires: [job] },
      { series: { ...UP, ...lastClaim('a', '0+60x120'), ...lastClaim('b', '3x120') } },
      { series: DOWN },
    ],
    KeelsonNotificationsLate: [
      { series: oldest('0+60x120'), fires: [{}] },
      { series: oldest('30x120') },
      { series: oldest('0x117 400 400 400') },
    ],
    KeelsonDeliveriesFailing: [
      {
        series: { [`${ATTEMPTS}, outcome="sent"}`]: '0+3x120', [`${ATTEMPTS}, outcome="retry"}`]: '0+6x120' },
        fires: [{ channel: 'webhook' }],
      },
      { series: { [`${ATTEMPTS}, outcome="sent"}`]: '0+6x120', [`${ATTEMPTS}, outcome="retry"}`]: '0+3x120' } },
    ],
    KeelsonNotificationsDead: [
      { series: { [`${ATTEMPTS}, outcome="dead"}`]: '0+1x120' }, fires: [{ channel: 'webhook' }] },
      { series: { [`${ATTEMPTS}, outcome="dead"}`]: '0x90 3x30' } },
    ],
    KeelsonRestarting: [
      {
        series: { 'process_start_time_seconds{job="keelson", instance="a"}': '0+300x120' },
        fires: [{ ...job, instance: 'a' }],
      },
      { series: { 'worker_deaths_total{job="keelson", instance="a"}': '0+1x120' }, fires: [{ ...job, instance: 'a' }] },
      { series: { 'process_start_time_seconds{job="keelson", instance="a"}': '5x110 6x10' } },
    ],
  };

  test('sees each alert fire when it should, and only then', (t) => {
    assert.deepEqual(
      Object.keys(cases),
      alerts.map(({ alert }) => alert),
    );
    const tests = alerts.flatMap(({ alert, labels, annotations }) =>
      (cases[alert] ?? []).map(({ series, fires = [] }) => ({
        interval: '1m',
        input_series: Object.entries(series).map(([series, values]) => ({ series, values })),
        alert_rule_test: [
          { eval_time: '0m', alertname: alert, exp_alerts: [] },
          {
            eval_time: '2h',
            alertname: alert,
            exp_alerts: fires.map((own) => ({ exp_labels: { ...labels, ...own }, exp_annotations: annotations })),
          },
        ],
      })),
    );
    const content = { rule_files: [join(folder, 'alerts.yml')], evaluation_interval: '5m', tests };
    const found = promtool(t, ['test', 'rules'], content);
    if (found) assert.equal(found.status, 0, found.output);
  });
});
