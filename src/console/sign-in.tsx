/** @jsxImportSource hono/jsx */
import { AppError } from '../errors.ts';
import { setHeader } from '../http/answer.ts';
import { type Ctx, router } from '../http/context.ts';
import { formOf, notFoundPage, render, seeOther } from './http.tsx';
import { Page } from './layout.tsx';
import { beginSession, cookieOf, endSession, mayBeDropped } from './session.ts';
import { useLink } from './store.ts';

/** Sign-in with a pasted token or, in development, with a link that works once; and sign-out. */
export const signInPages = router()
  .get('/sign-in', (c) => signInPage(c, { next: nextOf(c.req.query('next')) }))
  .post('/sign-in', async (c) => {
    const { token = '', next } = formOf(c);
    try {
      await beginSession(c, token.trim().replace(/^Bearer +/i, ''));
    } catch (error) {
      if (!(error instanceof AppError) || !REFUSALS.has(error.code)) throw error;
      const { 'Retry-After': retryAfter } = error.headers;
      if (retryAfter) setHeader(c, 'Retry-After', retryAfter);
      const status = error.code === 'unauthorized' ? 401 : 429;
      return signInPage(c, { next: nextOf(next), problem: sentence(error.message), status });
    }
    return goOn(c, nextOf(next));
  })
  .get('/sign-in/kept', (c) => {
    const next = nextOf(c.req.query('next'));
    return cookieOf(c) ? seeOther(c, next) : signInPage(c, { next, problem: NOT_KEPT, status: 401 });
  })
  // A preview or a scanner that requests the link before a person opens it does not use it up.
  .get('/sign-in/:code{[0-9a-f]{32}}', (c) => {
    if (c.env.settings.production) return notFoundPage(c);
    return render(
      c,
      <Page title="Sign in">
        <form method="post" action={`/console/sign-in/${c.req.param('code')}`} class="card narrow stack">
          <p>This link works once, and signs you in with every scope.</p>
          <button type="submit" class="primary">
            Sign in
          </button>
        </form>
      </Page>,
    );
  })
  .post('/sign-in/:code{[0-9a-f]{32}}', async (c) => {
    if (c.env.settings.production) return notFoundPage(c);
    const sealed = await useLink(c.env.db, c.req.param('code'), c.get('signal'));
    if (sealed === undefined) {
      return signInPage(c, { next: '/console', problem: 'This link has been used or has expired.', status: 401 });
    }
    await beginSession(c, await c.env.secrets.open(sealed));
    return goOn(c, '/console');
  })
  .post('/sign-out', (c) => {
    endSession(c);
    return seeOther(c, '/console/sign-in');
  });

const NOT_KEPT = 'Your browser did not keep the session: open the console over HTTPS, or on localhost.';

/** Redirects to a page; if the browser may not have kept the session, through a page that checks it. */
const goOn = (c: Ctx, next: string) =>
  seeOther(c, mayBeDropped(c) ? `/console/sign-in/kept?${new URLSearchParams({ next })}` : next);

const REFUSALS = new Set(['unauthorized', 'rate-limited']);

/** Responds to a request without a session. A form's action is not performed. */
export function askToSignIn(c: Ctx, had: boolean): Response | Promise<Response> {
  const { pathname, search } = new URL(c.req.url);
  if (c.req.method !== 'POST') {
    if (!had && /^(?:cross|same)-site$/.test(c.req.header('Sec-Fetch-Site') ?? '')) {
      return continuePage(c, pathname + search);
    }
    return seeOther(c, `/console/sign-in?${new URLSearchParams({ next: pathname + search })}`);
  }
  const problem = `${had ? 'Your session has ended.' : 'You are not signed in.'} Nothing was changed.`;
  return signInPage(c, { next: '/console', problem, status: 401 });
}

/** Opens the same page again, from this site: from another site's link, browsers send no SameSite=Strict cookie. */
function continuePage(c: Ctx, path: string) {
  return render(
    c,
    <Page title="Keelson" goTo={path}>
      <p>
        <a href={path}>Continue</a>
      </p>
    </Page>,
  );
}

type SignIn = { next: string; problem?: string; status?: 200 | 401 | 429 };

function signInPage(c: Ctx, { next, problem, status = 200 }: SignIn) {
  return render(
    c,
    <Page title="Sign in">
      <form method="post" action="/console/sign-in" class="card narrow stack">
        {problem && (
          <p class="notice bad" role="alert" id="problem">
            {problem}
          </p>
        )}
        <input type="hidden" name="next" value={next} />
        <label for="token">Bearer token</label>
        <input
          id="token"
          name="token"
          type="password"
          required
          autocomplete="off"
          spellcheck={false}
          aria-describedby={problem ? 'problem hint' : 'hint'}
        />
        <p id="hint" class="quiet">
          Its scopes determine what you can see and do. In development, <code>npm run token</code> creates a token.
        </p>
        <button type="submit" class="primary">
          Sign in
        </button>
      </form>
    </Page>,
    status,
  );
}

/** Returns the console path to redirect to. Anything else, such as another site, is not followed. */
function nextOf(next: string | undefined): string {
  const base = 'http://console';
  if (!next?.startsWith('/') || !URL.canParse(next, base)) return '/console';
  const { origin, pathname, search } = new URL(next, base);
  const isOurs = origin === base && /^\/console(?:\/|$)/.test(pathname) && !pathname.startsWith('/console/sign-');
  return isOurs ? pathname + search : '/console';
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`;
