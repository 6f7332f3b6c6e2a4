/** @jsxImportSource hono/jsx */
import { mailFor } from '../../dispatcher/channels/email.ts';
import { AppError } from '../../errors.ts';
import { id } from '../../fields.ts';
import { scope } from '../../http/auth.ts';
import { type Ctx, router } from '../../http/context.ts';
import { storedAnswer } from '../../http/idempotency.ts';
import { notFound } from '../../http/problem.ts';
import { byId } from '../../http/validate.ts';
import { findNotification } from '../../notifications/store.ts';
import { newEndpoint, refusedUrl, sendTest } from '../../webhook-endpoints/routes.ts';
import { formOf, keyOf, listed, render, seeOther, unlessGone } from '../http.tsx';
import { hasScope, Page } from '../layout.tsx';
import { Act, Ago, Badge, Empty, Facts, Live, Next, Notice, Payload, Table, textOf, When } from '../parts.tsx';
import { ANSWERS, answered, DEFAULT, isName, nameOf } from './receive.ts';
import {
  aboutName,
  type Choice,
  chooseAnswer,
  type Email,
  findEmail,
  findReceived,
  listEmails,
  listNames,
  listReceived,
  type Name,
  type Received,
} from './store.ts';

const AT = '/console/inbox';
const REFRESH_S = 2;
/** The longest Retry-After that can be chosen, in seconds: dispatchers wait no longer. */
const MAX_RETRY_AFTER_S = 86_400;

/** In development: the emails that the service sent, and the webhooks that it sent to itself. */
export const inboxPages = router()
  .get('/', async (c) => {
    const mayReceive = hasScope(c, 'webhooks:read');
    const [{ data, cursor }, names] = await Promise.all([
      listed(c, listEmails, {}),
      mayReceive ? listNames(c.env.db, c.get('signal')) : [],
    ]);
    return render(
      c,
      <Page c={c} title="Inbox">
        <p>
          In development, what this service sends appears here. Emails appear automatically. For webhooks, create an
          endpoint that points here: they are stored, verified, and answered as you choose.
        </p>
        {hasScope(c, 'webhooks:write') && <NewEndpoint />}
        <h2>Webhooks</h2>
        <Live c={c} everyS={REFRESH_S}>
          {names.length > 0 ? <Names names={names} now={c.env.now()} /> : <Empty>No webhook was received here.</Empty>}
          <h2>Emails</h2>
          {data.length > 0 ? <Emails emails={data} now={c.env.now()} /> : <Empty>No email yet.</Empty>}
          <Next cursor={cursor} />
        </Live>
      </Page>,
    );
  })
  .get('/emails/:id', byId, async (c) => {
    const email = await findEmail(c.env.db, c.req.valid('param').id, c.get('signal'));
    if (!email) throw notFound();
    return render(c, <EmailPage c={c} email={email} />);
  })
  .post('/', scope('webhooks:write'), async (c) => {
    const { name = '' } = formOf(c);
    if (!isName(name)) throw new AppError('validation-failed', 'A name has 1 to 40 of a-z, 0-9 and hyphens.');
    const { endpoints } = await aboutName(c.env.db, name, c.get('signal'));
    const isNew = endpoints.length === 0;
    if (isNew) {
      const input = { url: urlOf(c, name), events: ['*'], description: 'The local inbox' };
      const errors = await refusedUrl(c, input);
      if (errors[0]) throw new AppError('validation-failed', `The URL ${errors[0].detail}.`);
      const { stored } = await newEndpoint(c, input, keyOf(c));
      // Throws if the form was sent before with another name.
      storedAnswer(stored);
    }
    return seeOther(c, `${AT}/${name}${isNew ? '?done=created' : ''}`);
  })
  .use('/:name/*', scope('webhooks:read'))
  .get('/:name', async (c) => {
    const name = nameOf(c);
    const [about, received] = await Promise.all([
      aboutName(c.env.db, name, c.get('signal')),
      listReceived(c.env.db, name, c.get('signal')),
    ]);
    return render(c, <NamePage c={c} name={name} about={about} received={received} />);
  })
  .post('/:name/answer', scope('webhooks:write'), async (c) => {
    const name = nameOf(c);
    await chooseAnswer(c.env.db, name, choiceOf(formOf(c)), c.get('signal'));
    return seeOther(c, `${AT}/${name}?done=chosen`);
  })
  .post('/:name/test', scope('webhooks:write'), async (c) => {
    const name = nameOf(c);
    const { endpoints } = await aboutName(c.env.db, name, c.get('signal'));
    if (endpoints.length === 0) throw notFound();
    const first = (wanted: string) => endpoints.find(({ status }) => status === wanted);
    const endpoint = first('enabled') ?? first('paused');
    if (endpoint) await sendTest(c, endpoint.id, keyOf(c));
    return seeOther(c, `${AT}/${name}?done=${endpoint ? 'tested' : 'not-tested'}`);
  })
  .get('/:name/received/:id', byId, async (c) => {
    const name = nameOf(c);
    const found = await findReceived(c.env.db, name, c.req.valid('param').id, c.get('signal'));
    if (!found) throw notFound();
    const { webhookId, endpointId } = found.received;
    // A webhook-id is a notification's id only if an endpoint signed it. Anyone with the secret can sign other ids.
    const { data: ours } = id().safeParse(endpointId && webhookId);
    const notification = ours ? await findNotification(c.env.db, ours, c.get('signal')).catch(unlessGone) : undefined;
    return render(c, <ReceivedPage c={c} name={name} {...found} notification={notification} />);
  });

/** The URL that receives the webhooks for a name, on the host that the browser uses. */
const urlOf = (c: Ctx, name: string) => new URL(`${AT}/${name}`, c.req.url).href;

/** Throws AppError `validation-failed`. */
function choiceOf({ answer = '', retryAfter = '' }: Record<string, string | undefined>): Choice {
  const retryAfterS = /^\d{1,5}$/.test(retryAfter) ? Number(retryAfter) : DEFAULT.retryAfterS;
  if (!Object.hasOwn(ANSWERS, answer)) throw new AppError('validation-failed', 'There is no such answer.');
  return { answer, retryAfterS: Math.min(retryAfterS, MAX_RETRY_AFTER_S) };
}

const DONE: Record<string, string> = {
  created: 'An endpoint for all events points here.',
  chosen: 'The next webhook is answered that way.',
  tested: 'A test event is queued.',
  'not-tested': 'Enable the endpoint first.',
};

function NewEndpoint() {
  return (
    <form method="post" action={AT} class="filters">
      <input type="hidden" name="key" value={crypto.randomUUID()} />
      <div>
        <label for="name">Name</label>
        <input
          id="name"
          name="name"
          value="test"
          required
          pattern="[a-z0-9\-]{1,40}"
          title="1 to 40 of a-z, 0-9 and hyphens"
          autocomplete="off"
          spellcheck={false}
        />
      </div>
      <button type="submit" class="primary">
        Create an endpoint
      </button>
    </form>
  );
}

function Names({ names, now }: { names: Name[]; now: Date }) {
  return (
    <Table
      label="Inboxes"
      rows={names}
      columns={[
        ['Name', ({ name }) => <a href={`${AT}/${name}`}>{name}</a>, 'long'],
        ['Received', ({ count }) => count, 'number'],
        ['Last', ({ last }) => (last === null ? '–' : <Ago at={last} now={now} />)],
      ]}
    />
  );
}

function Emails({ emails, now }: { emails: Email[]; now: Date }) {
  return (
    <Table
      label="Emails"
      rows={emails}
      columns={[
        ['Subject', ({ id, body }) => <a href={`${AT}/emails/${id}`}>{mailFor(body).subject}</a>, 'long'],
        ['To', ({ recipient }) => recipient, 'long'],
        ['Status', ({ status }) => <Badge status={status} />, 'wide'],
        ['Created', ({ createdAt }) => <Ago at={createdAt} now={now} />],
      ]}
    />
  );
}

/** An email as its reader sees it: it is plain text. */
function EmailPage({ c, email: { id, recipient, body, status, createdAt } }: { c: Ctx; email: Email }) {
  const { subject, text } = mailFor(body);
  return (
    <Page c={c} title={subject}>
      <Facts
        of={{
          To: <span class="long">{recipient}</span>,
          Type: (JSON.parse(body) as { type: string }).type,
          Created: <When at={createdAt} />,
          Status: <Badge status={status} />,
          Notification: (
            <a class="long" href={`/console/notifications/${id}`}>
              {id}
            </a>
          ),
        }}
      />
      <div class="card mail">{text}</div>
      <Back />
    </Page>
  );
}

const Back = () => (
  <p>
    <a href={AT}>Back to the inbox</a>
  </p>
);

type NameProps = { c: Ctx; name: string; about: Awaited<ReturnType<typeof aboutName>>; received: Received[] };

function NamePage({ c, name, about: { choice = DEFAULT, endpoints }, received }: NameProps) {
  const notice = textOf(DONE, c.req.query('done'));
  const mayWrite = hasScope(c, 'webhooks:write');
  return (
    <Page c={c} title={`Inbox ${name}`}>
      {notice && <Notice kind={c.req.query('done') === 'not-tested' ? 'neutral' : 'good'}>{notice}</Notice>}
      <Facts
        of={{
          URL: <span class="long">{urlOf(c, name)}</span>,
          Endpoint: endpoints.map(({ id, status }) => (
            <div>
              <Badge status={status} />{' '}
              <a class="long" href={`/console/endpoints/${id}`}>
                {id}
              </a>
            </div>
          )),
          Answer: answered(choice),
        }}
      />
      {mayWrite && (
        <div class="actions">
          {endpoints.length === 0 ? (
            <Act to={AT} fields={{ name, key: crypto.randomUUID() }} kind="primary">
              Create an endpoint
            </Act>
          ) : (
            <Act to={`${AT}/${name}/test`} fields={{ key: crypto.randomUUID() }} kind="primary">
              Send a test
            </Act>
          )}
        </div>
      )}
      {mayWrite && <AnswerForm name={name} choice={choice} />}
      <h2>Received</h2>
      <Live c={c} everyS={REFRESH_S}>
        {received.length > 0 ? (
          <List name={name} received={received} now={c.env.now()} />
        ) : (
          <Empty>Nothing yet. The last 200 webhooks of all names are kept for a day.</Empty>
        )}
      </Live>
      <Back />
    </Page>
  );
}

function AnswerForm({ name, choice }: { name: string; choice: Choice }) {
  return (
    <form method="post" action={`${AT}/${name}/answer`} class="filters">
      <div>
        <label for="answer">Answer webhooks with</label>
        <select id="answer" name="answer">
          {Object.entries(ANSWERS).map(([value, { label }]) => (
            <option value={value} selected={value === choice.answer}>
              {label}
            </option>
          ))}
        </select>
      </div>
      <div>
        <label for="retryAfter">Retry-After, in seconds</label>
        <input
          id="retryAfter"
          name="retryAfter"
          type="number"
          min="0"
          max={MAX_RETRY_AFTER_S}
          value={choice.retryAfterS}
        />
      </div>
      <button type="submit">Use this answer</button>
    </form>
  );
}

const Verdict = ({ failure }: { failure: string | null }) =>
  failure === null ? <span class="badge sent">verified</span> : <span class="badge dead">not verified</span>;

function List({ name, received, now }: { name: string; received: Received[]; now: Date }) {
  return (
    <Table
      label="Webhooks received"
      rows={received}
      columns={[
        ['Type', ({ id, type }) => <a href={`${AT}/${name}/received/${id}`}>{type || 'No type'}</a>, 'long'],
        ['Signature', ({ failure }) => <Verdict failure={failure} />],
        ['Attempt', ({ attempt }) => attempt, 'number'],
        ['Answer', ({ answer }) => answer, 'wide'],
        ['Received', ({ at }) => <Ago at={at} now={now} />],
      ]}
    />
  );
}

type ReceivedProps = {
  c: Ctx;
  name: string;
  received: Received;
  headers: [name: string, value: string][];
  body: string;
  notification: { id: string; status: string } | undefined;
};

function ReceivedPage({ c, name, received, headers, body, notification }: ReceivedProps) {
  const { at, type, webhookId, failure, attempt, answer } = received;
  const notificationAt = `/console/notifications/${notification?.id}`;
  return (
    <Page c={c} title={type || 'No type'}>
      <Facts
        of={{
          Received: <When at={at} exact />,
          Signature: (
            <>
              <Verdict failure={failure} /> {failure}
            </>
          ),
          'Webhook-id': webhookId && <code class="long">{webhookId}</code>,
          Attempt: String(attempt),
          Answer: answer,
          Notification: notification && (
            <a href={notificationAt}>
              <Badge status={notification.status} />
            </a>
          ),
        }}
      />
      {notification?.status === 'dead' && hasScope(c, 'notifications:write') && (
        <div class="actions">
          <Act to={`${notificationAt}/redrive`} kind="primary">
            Redrive
          </Act>
        </div>
      )}
      <h2>Body</h2>
      <Payload text={body} open />
      <h2>Headers</h2>
      <Table
        label="Headers"
        rows={headers}
        columns={[
          ['Name', ([name]) => name, 'long'],
          ['Value', ([, value]) => value, 'long'],
        ]}
      />
      <p>
        <a href={`${AT}/${name}`}>Back to inbox {name}</a>
      </p>
    </Page>
  );
}
