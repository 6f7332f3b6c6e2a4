// Loads JSX support, which Node lacks, as src/entry/prepare.js does.
import '../../src/entry/tsx.js';
import { app } from '../../src/app.ts';
import type { Db } from '../../src/db.ts';
import type { Deps } from '../../src/deps.ts';
import { testDeps } from './deps.ts';
import { token } from './tokens.ts';

type Options = {
  /** Defaults to what follows from the body. */
  method?: string;
  form?: Record<string, string> | [string, string][];
  /** The body of a POST that is not a form. */
  raw?: string;
  cookie?: string;
  headers?: Record<string, string>;
};

export type Page = { status: number; headers: Headers; text: string; location: string | null };

/** Opens the console's pages without a server or a browser; sends forms as a browser does from a same-origin page. */
export function consoleOn(db: Db, own: Partial<Deps> = {}) {
  const deps = testDeps({ db, ...own });
  const open = async (path: string, { method, form, raw, cookie, headers = {} }: Options = {}): Promise<Page> => {
    const response = await app.request(
      `http://127.0.0.1:8787/console${path}`,
      {
        method: method ?? (form || raw !== undefined ? 'POST' : 'GET'),
        headers: { ...(form && { 'Sec-Fetch-Site': 'same-origin' }), ...(cookie && { Cookie: cookie }), ...headers },
        ...(form && { body: new URLSearchParams(form) }),
        ...(raw !== undefined && { body: raw }),
      },
      deps,
    );
    const { status, headers: answered } = response;
    return { status, headers: answered, text: await response.text(), location: answered.get('Location') };
  };
  /** Signs in with these claims, and returns the cookie. */
  const signIn = async (claims: Record<string, unknown> = {}): Promise<string> => {
    const { headers } = await open('/sign-in', { form: { token: token({ claims }) } });
    return cookieOf(headers);
  };
  return { deps, open, signIn };
}

/** Returns the part of a Set-Cookie that a browser sends back. */
export const cookieOf = (headers: Headers): string => headers.get('Set-Cookie')?.split(';', 1)[0] ?? '';
