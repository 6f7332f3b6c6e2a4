// Tables large enough to need an index, and how Postgres plans a statement on them.
import { after, before } from 'node:test';
import type { Db } from '../../src/db.ts';
import { connectTo, openTestPostgres } from './databases.ts';
import { noDb } from './deps.ts';

// 100,000 endpoints of which three subscribe to order.sent, and no enabled one to all; 200,000 notifications, a hundred
// of them by email, most of them sent.
const DATA = [
  `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
   select uuid_v7(), 'https://example.com/', case when i % 30000 = 1
     then array['order.sent', 'order.closed'] else array['order.paid', 'order.' || i % 500]
     end, 's', now(), now() from generate_series(1, 90000) i`,
  `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at, status)
   select uuid_v7(), 'https://example.com/', '{"*"}', 's', now(), now(), 'disabled' from generate_series(1, 5) i`,
  `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
   select uuid_v7(), 'https://example.com/', '{order.paid}', 's', now(), now() from generate_series(1, 9995) i`,
  `insert into messages select uuid_v7(), 'order.paid', '{}', now() from generate_series(1, 200000)`,
  `insert into notifications (id, message_id, channel, created_at)
   select uuid_v7(), m.id, case when m.n % 2000 = 0 then 'email' else 'webhook' end, now()
   from (select id, row_number() over () as n from messages) m`,
  `insert into outcomes select id, case when n % 500 = 0 then 'dead' when n % 500 = 1 then 'canceled' else 'sent' end,
     1, null, now(), 1, 200, 'd' from (select id, row_number() over () as n from notifications) t where n % 100 <> 7`,
  `insert into deliveries (notification_id, due_at) select id, now() from notifications n
   where not exists (select from outcomes where notification_id = n.id)`,
  `insert into attempts select id, now(), 1, 500, 'HTTP 500', 'd' from notifications`,
];

export type Plan = Record<string, unknown> & { Plans?: Plan[] };

const nodesOf = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];

/** Sets up the data for a suite, with what the SQL of `own` adds; returns a function that shows plans on it. */
export function withPlans(own: string[] = []) {
  let database: Awaited<ReturnType<typeof openTestPostgres>>;
  let client: Awaited<ReturnType<typeof connectTo>>;
  before(async () => {
    database = await openTestPostgres();
    client = await connectTo(database.name);
    for (const each of [...DATA, ...own, 'vacuum analyze']) await client.text(each);
  });
  after(async () => {
    await client.close();
    await database.close();
  });

  /** Returns the plans of the one statement that `use` runs: custom ones for its values, and generic ones. */
  async function plansOf(
    use: (db: Db) => Promise<unknown>,
    what = 'format json',
  ): Promise<[mode: string, nodes: Plan[]][]> {
    const run: { text: string; values: unknown[] }[] = [];
    const db: Db = {
      ...noDb,
      run: async (statement, values) => {
        run.push({ text: statement.text, values: statement.params(values) });
        return [];
      },
    };
    await use(db).catch(() => {});
    const [{ text, values }] = run as [(typeof run)[0]];
    const literal = (value: unknown) => (value === null ? 'null' : `'${String(value).replaceAll("'", "''")}'`);
    const plans: [string, Plan[]][] = [];
    await client.text(`prepare explained as ${text}`);
    for (const mode of ['force_custom_plan', 'force_generic_plan', 'auto']) {
      await client.text(`set plan_cache_mode = ${mode}`);
      const asked = `explain (${what}) execute explained (${values.map(literal).join(', ')})`;
      // In auto mode, Postgres tries five custom plans before it considers a generic one.
      for (let i = mode === 'auto' ? 7 : 1; i > 0; i--) {
        const [row] = (await client.text(asked)) as [{ 'QUERY PLAN': [{ Plan: Plan }] }];
        plans.push([mode, nodesOf(row['QUERY PLAN'][0].Plan)]);
      }
    }
    await client.text('deallocate explained');
    return plans;
  }

  return plansOf;
}

/** How a plan reads a table. */
export const scans = (nodes: Plan[], table: string) =>
  nodes.filter((node) => node['Relation Name'] === table).map((node) => node['Node Type']);
export const indexes = (nodes: Plan[]) => nodes.map((node) => node['Index Name']);
