/** @jsxImportSource hono/jsx */
import { type Ctx, router } from '../http/context.ts';
import { byId } from '../http/validate.ts';
import { listNotifications, type NotificationPage } from '../notifications/store.ts';
import { type User, UserQuery } from '../users/schema.ts';
import { findUser, listUsers } from '../users/store.ts';
import { listed, render } from './http.tsx';
import { hasScope, Page } from './layout.tsx';
import { NotificationList } from './notification-list.tsx';
import { Empty, Facts, Next, Table, When } from './parts.tsx';

/** How many of a user's notifications are shown. */
const RECENT_LIMIT = 20;

/** Users, and their notifications. */
export const usersPages = router()
  .get('/', async (c) => {
    const given = c.req.query('email')?.trim() ?? '';
    const parsed = UserQuery().safeParse(given ? { email: given } : {});
    const { data, cursor } = parsed.success
      ? await listed(c, listUsers, { email: parsed.data.email })
      : { data: [], cursor: null };
    return render(
      c,
      <Page c={c} title="Users">
        <Search email={given} problem={parsed.success ? undefined : 'Enter a valid email address.'} />
        {data.length > 0 && <List users={data} />}
        {data.length === 0 && parsed.success && <Empty>No user {given ? 'has this email address' : 'yet'}.</Empty>}
        <Next cursor={cursor} query={{ email: given }} />
      </Page>,
      parsed.success ? 200 : 422,
    );
  })
  .get('/:id', byId, async (c) => {
    const { id } = c.req.valid('param');
    const page = { userId: id, after: null, limit: RECENT_LIMIT };
    const [user, recent] = await Promise.all([
      findUser(c.env.db, id, c.get('signal')),
      hasScope(c, 'notifications:read') ? listNotifications(c.env.db, page, c.get('signal')) : undefined,
    ]);
    return render(
      c,
      <Page c={c} title={user.name}>
        <Facts
          of={{
            Email: user.email,
            Created: <When at={user.createdAt} />,
            Changed: <When at={user.updatedAt} />,
            Id: <code class="long">{user.id}</code>,
          }}
        />
        {recent && <RecentNotifications c={c} id={id} recent={recent} />}
      </Page>,
    );
  });

function Search({ email, problem }: { email: string; problem: string | undefined }) {
  return (
    <search>
      <form method="get" class="filters">
        <div>
          <label for="email">Email</label>
          <input
            id="email"
            name="email"
            value={email}
            autocomplete="off"
            aria-invalid={problem ? 'true' : undefined}
            aria-describedby={problem && 'problem'}
          />
        </div>
        <button type="submit">Search</button>
        {problem && (
          <p id="problem" class="problem">
            {problem}
          </p>
        )}
      </form>
    </search>
  );
}

function List({ users }: { users: User[] }) {
  return (
    <Table
      label="Users"
      rows={users}
      columns={[
        ['Email', ({ id, email }) => <a href={`/console/users/${id}`}>{email}</a>, 'long'],
        ['Name', ({ name }) => name, 'long'],
        ['Created', ({ createdAt }) => <When at={createdAt} />, 'wide'],
      ]}
    />
  );
}

type RecentProps = { c: Ctx; id: string; recent: NotificationPage };

function RecentNotifications({ c, id, recent: { data, next } }: RecentProps) {
  return (
    <>
      <h2>Notifications</h2>
      {data.length > 0 ? (
        <NotificationList notifications={data} now={c.env.now()} />
      ) : (
        <Empty>No notifications within the retention period.</Empty>
      )}
      {next !== null && (
        <p>
          <a href={`/console/notifications?userId=${id}`}>All notifications</a>
        </p>
      )}
    </>
  );
}
