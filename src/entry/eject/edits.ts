// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the texts are code.
// The edits that remove the example resource, users: paths to delete, and exact texts to replace. If a text does not
// occur exactly once, the command ends before it has changed anything.

export const DELETED = [
  'src/users',
  'src/console/users.tsx',
  'src/entry/seed.ts',
  'src/entry/eject',
  'test/users',
  'test/conformance/users.ts',
  'test/support/users.ts',
  'test/entry/seed.test.ts',
  'test/entry/eject.test.ts',
  'test/clones.ts',
  '.github/workflows/clones.yml',
  'test/upgrade',
  'docs/performance',
];

type Edit = [find: string, replacement: string];

const BODY = `-d '{"email":"\${name}@example.com",`;

export const EDITS: Record<string, Edit[]> = {
  'src/app.ts': [
    ["import { usersRoutes } from './users/routes.ts';\n", ''],
    ["\n  .route('/api/v1/users', usersRoutes)", ''],
  ],
  'src/errors.ts': [["  | 'email-taken'\n", '']],
  'src/http/problem.ts': [["  'email-taken': { status: 409, title: 'Email already taken' },\n", '']],
  'src/http/problem-texts.ts': [
    [
      `  'email-taken': {
    meaning: 'Another user has this email address (case-insensitive).',
    remedy: 'Use another address, or find the user with GET /api/v1/users?email=.',
    example: { detail: 'Another user has this email address.' },
  },
`,
      '',
    ],
  ],
  'src/dispatcher/channels/email.ts': [
    [
      `  if (type === 'user.created') {
    const name = data.name === undefined ? '' : \` \${shown(data.name)}\`;
    return { subject: 'Welcome', text: \`Hello\${name},\\n\\nyour account has been created.\\n\` };
  }
`,
      '',
    ],
  ],
  'src/entry/welcome.ts': [
    [
      '    // Another user with every start, and pasted again the same answer: it never meets an email that is taken.\n',
      '',
    ],
    ["'Create a user:'", "'Queue an email:'"],
    ['/api/v1/users \\\\`', '/api/v1/notifications \\\\`'],
    [`${BODY}"name":"Ada Lovelace"}'`, `${BODY}"type":"invoice.paid","data":{}}'`],
  ],
  'src/fields.ts': [['export const isObject', 'const isObject']],
  'src/notifications/schema.ts': [
    ["const ofUser = () => z.optional(id('must be the id of a user'));\n\n", ''],
    ['the recipient, a user or an address, and', 'the address, and'],
    ['userId: ofUser(), email: z.optional(email()), type', 'email: email(), type'],
    ["import type { FieldError } from '../errors.ts';\n", ''],
    ['instant, isObject, json', 'instant, json'],
    [
      `/** POST takes either. */
export function eitherRecipient(_: unknown, given: unknown): FieldError[] {
  if (!isObject(given)) return [];
  const { userId, email } = given as { userId?: unknown; email?: unknown };
  if ((userId === undefined) !== (email === undefined)) return [];
  return [{ detail: 'either userId or email is required', pointer: '#/userId' }];
}

`,
      '',
    ],
    ["    oneOf: [{ required: ['userId'] }, { required: ['email'] }],\n", ''],
    ['  userId: ofUser(),\n', ''],
    ['  userId: null,\n', ''],
    ['      userId: z.nullable(z.uuid()),\n', ''],
  ],
  'src/notifications/routes.ts': [
    ['Queues an email to a user or an address, and', 'Queues an email to an address, and'],
    ['  eitherRecipient,\n', ''],
    ['NotificationInput, eitherRecipient)', 'NotificationInput)'],
    ['    const { userId = null, email = null } = input;\n', ''],
    ['{ ...input, ...reservation, id: uuidv7(), userId, email }', '{ ...input, ...reservation, id: uuidv7() }'],
  ],
  'src/notifications/store.ts': [
    ["import { users } from '../users/schema.ts';\n", ''],
    [
      `coalesce(o.status, 'pending') as status, n.user_id as "userId",
  n.endpoint_id as "endpointId",`,
      `coalesce(o.status, 'pending') as status,
  n.endpoint_id as "endpointId",`,
    ],
    [
      '  user: ($: Params<ListValues>) =>\n    sql`select id from ${notifications} where user_id = ${$.userId}::uuid and ${range($)}`,\n',
      '',
    ],
    ["  if (userId) return 'user';\n", ''],
    ['{ userId, endpointId, status, channel }: Filters', '{ endpointId, status, channel }: Filters'],
    ['userId: string | null; email: string | null; type', 'email: string; type'],
    ['  const precondition = sql`exists (select from recipient)`;\n', ''],
    ['    userId: sql`${$.userId}::uuid`,\n', ''],
    ['    userId: sql`recipient_once.id`,\n', ''],
    [
      `    with recipient as (
      select id, email from \${users} where id = \${$.userId}::uuid
      union all select null, \${$.email}::text where \${$.email}::text is not null
    ), \${reserveKey($, { precondition, response })}, recipient_once as (
      select id, email from recipient where exists (select from reservation where fresh)
    ),`,
      `    with \${reserveKey($, { response })}, recipient_once as (
      select \${$.email}::text as email from reservation where fresh
    ),`,
    ],
    [
      ` * Enqueues an email with the id \`id\`, to the user or the address, and a webhook for every subscribed endpoint. Throws
 * AppError \`validation-failed\` if the user does not exist.
`,
      ' * Enqueues an email with the id `id` to the address, and a webhook for every subscribed endpoint.\n',
    ],
    [
      `creating('notifications.create', buildCreate, () => {
  const errors = [{ detail: 'there is no such user', pointer: '#/userId' }];
  return new AppError('validation-failed', 'There is no such user.', { errors });
});`,
      "creating('notifications.create', buildCreate);",
    ],
    [`'pending' as status, n.user_id as "userId", n.endpoint_id`, `'pending' as status, n.endpoint_id`],
    [`'canceled' as status, n.user_id as "userId", n.endpoint_id`, `'canceled' as status, n.endpoint_id`],
  ],
  'src/notifications/filters.ts': [
    ["'endpointId', 'userId', 'channel'", "'endpointId', 'channel'"],
    ['  and (${given.userId}::uuid is null or n.user_id = ${given.userId}::uuid)\n', ''],
  ],
  'src/webhook-endpoints/store.ts': [['    userId: sql`null`,\n', '']],
  'src/console/routes.tsx': [
    ["import { usersPages } from './users.tsx';\n", ''],
    ["pages.use('/console/users/*', scope('users:read'));\n", ''],
    ["\n  .route('/console/users', usersPages)", ''],
  ],
  'src/console/layout.tsx': [["  { path: '/console/users', name: 'Users', scope: 'users:read' },\n", '']],
  'src/console/notification-filters.tsx': [['        <Text {...field} name="userId" label="User id" />\n', '']],
  'src/console/notification-page.tsx': [
    ['channel, userId, endpointId }', 'channel, endpointId }'],
    [
      "          User: userId && <Link to={hasScope(c, 'users:read') && `/console/users/${userId}`}>{userId}</Link>,\n",
      '',
    ],
  ],
  'test/console/session.test.ts': [["'/notifications', '/users', '/actions'", "'/notifications', '/actions'"]],
  'test/console/pages.test.ts': [
    ["      '/users',\n", ''],
    ['      `/users?email=${encodeURIComponent(EVIL)}`,\n', ''],
    ["'/endpoints', '/users', '/actions'", "'/endpoints', '/actions'"],
  ],
  'test/console/browser.test.ts': [
    ['  let user: { id: string };\n', ''],
    ["    user = await post('/users', { email: 'ada@example.com', name: 'Ada Lovelace' });\n", ''],
    [
      `  test('a user is found by email, with their notifications', async () => {
    await go('/users');
    await page.getByLabel('Email').fill('ADA@example.com');
    await page.keyboard.press('Enter');
    await click('link', 'ada@example.com');
    await heading('Ada Lovelace');
    await page.getByRole('row', { name: /user\\.created/ }).waitFor();
  });

`,
      '',
    ],
    ["      '/users',\n      `/users/${user.id}`,\n", ''],
  ],
  'src/outbox/enqueue.ts': [
    [
      `export type Event = {
  from: SQL;
  type: SQL;
  data: SQL;
  /** The user that it concerns, if any. */
  userId?: SQL;
};

const NOBODY = sql\`null::uuid\`;
`,
      'export type Event = { from: SQL; type: SQL; data: SQL };\n',
    ],
    ['toSubscribers({ from, type, userId = NOBODY }: Event)', 'toSubscribers({ from, type }: Event)'],
    ['byEmail({ from, userId = NOBODY }: Event', 'byEmail({ from }: Event'],
    ['toEndpoint({ from, userId = NOBODY }: Event', 'toEndpoint({ from }: Event'],
    [
      `e.id as endpoint_id, null::text as recipient,
           \${userId} as user_id
`,
      'e.id as endpoint_id, null::text as recipient\n',
    ],
    [
      `\${address} as recipient,
           \${userId} as user_id
`,
      '${address} as recipient\n',
    ],
    [
      `\${endpointId} as endpoint_id, null::text as recipient,
           \${userId} as user_id
`,
      '${endpointId} as endpoint_id, null::text as recipient\n',
    ],
    ['endpoint_id, user_id, recipient, created_at)', 'endpoint_id, recipient, created_at)'],
    [
      'recipients.endpoint_id, recipients.user_id, recipients.recipient',
      'recipients.endpoint_id, recipients.recipient',
    ],
    ["'type' | 'channel' | 'userId' | 'endpointId'", "'type' | 'channel' | 'endpointId'"],
    ['const { id, type, channel, userId, endpointId } = shown;', 'const { id, type, channel, endpointId } = shown;'],
    ["      'userId', ${userId}, 'endpointId'", "      'endpointId'"],
  ],
  'src/outbox/schema.ts': [
    ["    userId: uuid('user_id'),\n", ''],
    ["    index('notifications_user').on(t.userId, t.id),\n", ''],
  ],
  'test/conformance/suite.ts': [
    ["import { users } from './users.ts';\n", ''],
    ['  users(target);\n', ''],
  ],
  'test/support/operations.ts': [
    ["import { userOperations } from './users.ts';\n", ''],
    ['  await userOperations(ask);\n', ''],
  ],
  'test/readme.test.ts': [
    ["=== 'session' ? ['201', '201'] : ['201']", "=== 'session' ? ['202', '202'] : ['202']"],
    ['{2}user\\.created {2}', '{2}invoice\\.paid {2}'],
    ['"type":"user\\.created","channel"', '"type":"invoice\\.paid","channel"'],
  ],
  'test/bench/measured.ts': [
    ["NAME = 'users'", "NAME = 'notifications'"],
    ["PATH = '/api/v1/users'", "PATH = '/api/v1/notifications'"],
    ["TABLE = 'users'", "TABLE = 'notifications'"],
    ["EVENT = 'user.created'", "EVENT = 'order.sent'"],
    [`"name":"Bench User"}'`, `"type":"order.sent","data":{}}'`],
    ['MADE = 201', 'MADE = 202'],
    ["READ = 'GET /users/{id}'", "READ = 'GET /notifications/{id}'"],
    ["LIST = 'GET /users'", "LIST = 'GET /notifications'"],
    ["CREATE = 'POST /users'", "CREATE = 'POST /notifications'"],
  ],
  'test/bench/http.sql': [
    [
      `insert into users (id, email, name, created_at, updated_at)
select uuid_v7(), 'user' || i || '@seed.test', 'Seed User', now(), now() from generate_series(1, :rows) i;`,
      `with m as (
  insert into messages (id, type, body, created_at)
  select uuid_v7(), 'order.sent', '{"type":"order.sent","data":{}}', now() from generate_series(1, :rows) returning id
), n as (
  insert into notifications (id, message_id, channel, recipient, created_at)
  select id, id, 'email', id || '@seed.test', now() from m
)
insert into outcomes (notification_id, status, attempts, finished_at, duration_ms, dispatcher)
select id, 'sent', 1, now(), 1, 'bench' from m;`,
    ],
  ],
  'test/bench/http.json': [
    ['select id from users order', 'select id from notifications order'],
    ['users:read users:write', 'notifications:read notifications:write'],
    ['"/api/v1/users/{id}"', '"/api/v1/notifications/{id}"'],
    ['"/api/v1/users?limit', '"/api/v1/notifications?limit'],
    ['"path": "/api/v1/users",', '"path": "/api/v1/notifications",'],
    ['\\"name\\":\\"Bench User\\"}', '\\"type\\":\\"order.sent\\",\\"data\\":{}}'],
    ['"ok": 201', '"ok": 202'],
  ],
  'knip.json': [
    ['receiver,seed,', 'receiver,'],
    [',\n        "!test/upgrade/teams/**"', ''],
    [', "!test/upgrade/teams/**"', ''],
  ],
  'test/tsconfig.json': [['    "upgrade/teams",\n', '']],
  'package.json': [
    ['    "seed": "exec node --import ./src/entry/prepare.js src/entry/seed.ts",\n', ''],
    ['    "test:clones": "node test/clones.ts",\n', ''],
    ['    "eject-example": "node --import ./src/entry/prepare.js src/entry/eject/eject-example.ts",\n', ''],
  ],
  'README.md': [
    ['send a test. **Users**: their notifications.\n  **Actions**', 'send a test.\n  **Actions**'],
    ['users, webhooks and notifications that survive', 'webhooks and notifications that survive'],
    ['--scope "users:write notifications:read"', '--scope "notifications:write notifications:read"'],
    ['--sub me --scope "users:read users:write"', '--sub me --scope "notifications:read notifications:write"'],
    ['$API/users -H', '$API/notifications -H'],
    [`"name":"Grace Hopper"}'`, `"type":"invoice.paid","data":{}}'`],
    ['verifies the `user.created` webhook', 'verifies the `invoice.paid` webhook'],
    [
      `no second
user. \`npm run seed -- --users 100000\` fills the database; stop the service first, unless it is on Postgres.`,
      `no second
email.`,
    ],
    [
      `const grace = await client.users.create({ email: 'grace@example.com', name: 'Grace' });
for await (const user of client.users.list()) console.log(user.email); // every page`,
      `await client.notifications.create({ email: 'grace@example.com', type: 'invoice.paid', data: { invoice: 'INV-7' } });
for await (const { type, status } of client.notifications.list()) console.log(type, status); // every page`,
    ],
    [
      '| `src/users/`      | a resource: `schema.ts` `store.ts` `routes.ts`; `webhook-endpoints/` and `notifications/` look the same |',
      '| `src/notifications/` | a resource: `schema.ts` `store.ts` `routes.ts`; `webhook-endpoints/` looks the same |',
    ],
    [
      "npm run new -- team name:text 'owner:user.id?' plan:enum:free,pro",
      'npm run new -- team name:text plan:enum:free,pro',
    ],
    [
      `
\`npm run eject-example\` takes users out, once you have read them: \`POST /notifications\` then takes an address, and the tests
stand on what remains.
`,
      '',
    ],
    ['| GET /users/{id} |', '| GET by id       |'],
  ],
  'ARCHITECTURE.md': [
    ['    eject/            npm run eject-example: the edits that take users out\n', ''],
    ['  users/              schema.ts  store.ts  routes.ts\n', ''],
    ['  webhook-endpoints/  the same names', '  webhook-endpoints/  schema.ts  store.ts  routes.ts'],
    ['(insert into users … from', '(insert into teams … from'],
    ['(… every subscribed endpoint, and the user by email …)', '(… every subscribed endpoint …)'],
  ],
  'SECURITY.md': [['Scopes: `users:read`, `users:write`, `webhooks:read`', 'Scopes: `webhooks:read`']],
  'AGENTS.md': [
    ['("Create a user")', '("Create a notification")'],
    ['test/users/store.test.ts', 'test/notifications/store.test.ts'],
  ],
  'CONTRIBUTING.md': [
    ['npm test -- test/users/store.test.ts         #', 'npm test -- test/notifications/store.test.ts #'],
  ],
};

/** Lines with these prefixes are deleted. */
export const LINES: Record<string, string[]> = {
  'SECURITY.md': ['| two users with one address in different case'],
};
