/** @jsxImportSource hono/jsx */
import type { PropsWithChildren } from 'hono/jsx';
import type { Ctx } from '../http/context.ts';

type Section = { path: string; name: string; scope: string; inDevelopment?: boolean };

/** The sections of the console, and the scope that each requires. */
const SECTIONS: Section[] = [
  { path: '/console', name: 'Overview', scope: 'notifications:read' },
  { path: '/console/notifications', name: 'Notifications', scope: 'notifications:read' },
  { path: '/console/endpoints', name: 'Endpoints', scope: 'webhooks:read' },
  { path: '/console/users', name: 'Users', scope: 'users:read' },
  { path: '/console/actions', name: 'Actions', scope: 'notifications:read' },
  { path: '/console/inbox', name: 'Inbox', scope: 'notifications:read', inDevelopment: true },
];

/** The first section that the token's scopes permit. */
export const firstSection = (c: Ctx) => SECTIONS.find(({ scope }) => hasScope(c, scope));

/** Whether the signed-in token has a scope. */
export const hasScope = (c: Ctx, scope: string): boolean => c.get('principal')?.scopes.has(scope) ?? false;

type PageProps = { c?: Ctx; title: string; goTo?: string };

/** A whole page. Without `c`, or without a session, it has no navigation. With `goTo`, it redirects there at once. */
export function Page({ c, title, goTo, children }: PropsWithChildren<PageProps>) {
  const signedIn = c !== undefined && c.get('principal') !== undefined;
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width" />
        {goTo && <meta http-equiv="refresh" content={`0; url=${goTo}`} />}
        <title>{title} · Keelson</title>
        <link rel="icon" href="data:," />
        <link rel="stylesheet" href="/assets/console.css" />
        <script src="/assets/console.js" type="module" />
      </head>
      <body>
        <a class="skip" href="#main">
          Skip to the content
        </a>
        <header class="bar">
          <span class="brand">Keelson</span>
          {signedIn && <Navigation c={c} />}
          {signedIn && <Account c={c} />}
        </header>
        <main id="main" tabindex={-1}>
          <h1>{title}</h1>
          {children}
        </main>
      </body>
    </html>
  );
}

function Navigation({ c }: { c: Ctx }) {
  const at = c.req.path.replace(/\/$/, '');
  const isShown = ({ scope, inDevelopment }: Section) =>
    hasScope(c, scope) && !(inDevelopment && c.env.settings.production);
  const isCurrent = (path: string) => at === path || (path !== '/console' && at.startsWith(`${path}/`));
  return (
    <nav aria-label="Sections">
      {SECTIONS.filter(isShown).map(({ path, name }) => (
        <a href={path} aria-current={isCurrent(path) ? 'page' : undefined}>
          {name}
        </a>
      ))}
    </nav>
  );
}

function Account({ c }: { c: Ctx }) {
  return (
    <form method="post" action="/console/sign-out" class="account">
      <span class="quiet">{c.get('principal').sub}</span>
      <button type="submit" class="plain">
        Sign out
      </button>
    </form>
  );
}
