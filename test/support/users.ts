import { type Answer, unique, uniqueEmail } from '../conformance/target.ts';

type Ask = (operation: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>;

/** For `everyOperation`: those of users. */
export async function userOperations(ask: Ask): Promise<void> {
  const users = '/api/v1/users';
  const body = { email: uniqueEmail(), name: 'Ada' };
  const { id } = (await ask(`POST ${users}`, users, body, { 'Idempotency-Key': unique() })).json;
  await ask(`GET ${users}`, `${users}?limit=1`);
  await ask(`GET ${users}/{id}`, `${users}/${id}`);
  await ask(`PUT ${users}/{id}`, `${users}/${id}`, body, { 'If-Match': '"1"' });
  const notice = { userId: id, type: 'order.sent', data: {} };
  await ask('POST /api/v1/notifications', '/api/v1/notifications', notice);
  await ask(`DELETE ${users}/{id}`, `${users}/${id}`);
}
