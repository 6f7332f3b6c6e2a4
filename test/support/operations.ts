// Runs every operation of the API once, each successfully, so that a caller can count what each one costs.
import assert from 'node:assert/strict';
import { type Answer, type Call, newEndpoint, newNotice, unique } from '../conformance/target.ts';
import { collections } from './collections.ts';
import { query } from './postgres-server.ts';
import { userOperations } from './users.ts';

type Around = (operation: string, ask: () => Promise<Answer>) => Promise<Answer>;

/** Calls one operation by its name. */
type Ask = (operation: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>;

/** Operations that touch no data. */
export const DATALESS = ['GET /health', 'GET /openapi.json', 'GET /docs'];

/** Sets the state after the last failed attempt. */
const DIE = `
  with gone as (delete from deliveries where notification_id = $1)
  insert into outcomes (notification_id, status, attempts, finished_at, duration_ms, dispatcher)
  values ($1, 'dead', 10, now(), 1, 'test')`;

/** Calls each operation within `around`, by its name in the API description. Throws if one fails or is left out. */
export async function everyOperation(call: Call, database: string, around: Around): Promise<void> {
  const seen = new Set<string>();

  const ask: Ask = async (operation, path, body, headers = {}) => {
    const method = operation.split(' ')[0] as string;
    const answer = await around(operation, () => call(method, path, { ...(body !== undefined && { body }), headers }));
    assert.ok(answer.status < 300, `${operation}: ${answer.text}`);
    seen.add(operation);
    return answer;
  };

  for (const operation of DATALESS) await ask(operation, operation.split(' ')[1] as string);
  // The first statement may take longer than /ready waits.
  for (let left = 50; left > 0 && (await call('GET', '/ready')).status !== 200; left--);
  await ask('GET /ready', '/ready');
  const key = { 'Idempotency-Key': unique() };
  const hooks = '/api/v1/webhook-endpoints';
  const hook = { ...newEndpoint(), events: ['*'] };
  const hookId = (await ask(`POST ${hooks}`, hooks, hook, key)).json.id;
  await ask(`POST ${hooks}/{id}/pause`, `${hooks}/${hookId}/pause`);
  await ask(`POST ${hooks}/{id}/enable`, `${hooks}/${hookId}/enable`);
  await ask(`GET ${hooks}/{id}/health`, `${hooks}/${hookId}/health`);
  await ask(`POST ${hooks}/{id}/rotate-secret`, `${hooks}/${hookId}/rotate-secret`);

  const told = '/api/v1/notifications';
  await ask(`POST ${told}`, told, newNotice(), key);
  const { id } = (await ask(`POST ${hooks}/{id}/test`, `${hooks}/${hookId}/test`)).json;
  await ask(`GET ${told}`, `${told}?status=pending`);
  await ask(`GET ${told}/{id}`, `${told}/${id}`);
  await query(database, DIE, [id]);
  await ask(`POST ${told}/{id}/redrive`, `${told}/${id}/redrive`);
  await ask(`POST ${told}/{id}/cancel`, `${told}/${id}/cancel`);
  const all = { filter: { type: 'nothing.ever' } };
  await ask(`POST ${told}/redrive`, `${told}/redrive`, all, { 'Idempotency-Key': unique() });
  const action = (await ask(`POST ${told}/cancel`, `${told}/cancel`, all)).json.id;
  const actions = '/api/v1/actions';
  await query(database, `update actions set status = 'running' where id = $1`, [action]);
  await ask(`GET ${actions}`, actions);
  await ask(`GET ${actions}/{id}`, `${actions}/${action}`);
  await ask(`POST ${actions}/{id}/stop`, `${actions}/${action}/stop`);
  await ask('GET /api/v1/stats', '/api/v1/stats');
  for (const { path, make, change } of collections) {
    const list = `/api/v1${path}`;
    const post = (to: string, parent: object) => call('POST', `/api/v1${to}`, { body: parent });
    const body = await make(post);
    const { id: made } = (await ask(`POST ${list}`, list, body, { 'Idempotency-Key': unique() })).json;
    await ask(`GET ${list}`, list);
    await ask(`GET ${list}/{id}`, `${list}/${made}`);
    await ask(`PUT ${list}/{id}`, `${list}/${made}`, await change(body, post), { 'If-Match': '"1"' });
    await ask(`DELETE ${list}/{id}`, `${list}/${made}`);
  }
  await userOperations(ask);

  const { paths } = (await call('GET', '/openapi.json')).json as { paths: Record<string, object> };
  for (const [path, methods] of Object.entries(paths)) {
    if (!path.startsWith('/api/')) continue;
    for (const method of Object.keys(methods)) {
      const operation = `${method.toUpperCase()} ${path}`;
      if (/^(GET|POST|PUT|DELETE) /.test(operation)) assert.ok(seen.has(operation), `${operation} was not asked`);
    }
  }
}
