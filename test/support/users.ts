import { type Answer, unique, uniqueEmail } from '../conformance/target.ts';

type Ask = (operation: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>;

/** For `everyOperation`: calls what users add to the operations of other resources. */
export async function userOperations(ask: Ask): Promise<void> {
  const users = '/api/v1/users';
  const body = { email: uniqueEmail(), name: 'Ada' };
  const { id } = (await ask(`POST ${users}`, users, body, { 'Idempotency-Key': unique() })).json;
  const notice = { userId: id, type: 'order.sent', data: {} };
  await ask('POST /api/v1/notifications', '/api/v1/notifications', notice);
}
