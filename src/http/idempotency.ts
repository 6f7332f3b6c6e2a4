import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { AppError } from '../errors.ts';
import type { ReservationRow, ReservationValues } from '../idempotency/reserve-key.ts';
import { json, setHeader } from './answer.ts';
import type { Ctx } from './context.ts';

/** An answer that can be stored and replayed: known before the write, as ids and times are the caller's. */
export type Answer<T, S extends ContentfulStatusCode> = { status: S; headers: Record<string, string>; body: T };

/** A reservation that knows what its answer will look like. */
export type Reservation<T, S> = ReservationValues & { readonly answer?: [T, S] };

/**
 * Prepares the reservation of the request's Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07) for the
 * statement that has the effect. `input` is the validated body: what a repeat must send again. `answer` is left out
 * where the statement itself makes it. Throws AppError `invalid-idempotency-key`.
 */
export async function reservationOf<T, S extends ContentfulStatusCode>(
  c: Ctx,
  input: unknown,
  answer?: Answer<T, S>,
): Promise<Reservation<T, S>> {
  const header = c.req.header('Idempotency-Key');
  return {
    keySubject: c.get('principal').sub,
    keyRoute: `${c.req.method} ${c.req.path}`,
    key: header === undefined ? null : parseKey(header),
    keyFingerprint: header === undefined ? '' : await sha256(JSON.stringify(input)),
    keyHolder: crypto.randomUUID(),
    keyResponse: JSON.stringify(answer ?? null),
  };
}

/**
 * Answers with what the statement's reservation came to: the effect's answer, or the first one's again. `reveal` turns what
 * is stored into what is shown, where they differ.
 */
export async function answerWith<T, S extends ContentfulStatusCode>(
  c: Ctx,
  reservation: Reservation<T, S>,
  row: ReservationRow,
  reveal?: (body: T) => Promise<T>,
) {
  if (row.fingerprint !== reservation.keyFingerprint) {
    throw new AppError('idempotency-key-reused', 'This Idempotency-Key was used before with another payload.');
  }
  if (!row.fresh) setHeader(c, 'Idempotent-Replayed', 'true');
  const { status, headers, body } = JSON.parse(row.response) as Answer<T, S>;
  for (const [name, value] of Object.entries(headers)) setHeader(c, name, value);
  return json(c, reveal ? await reveal(body) : body, status);
}

/** A Structured Field String, or a bare token, as most clients send it. */
export function parseKey(header: string): string {
  if (/^[A-Za-z0-9._~:-]{1,255}$/.test(header)) return header;
  const quoted = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/.exec(header)?.[1]?.replace(/\\(["\\])/g, '$1');
  if (quoted && quoted.length <= 255) return quoted;
  throw new AppError('invalid-idempotency-key', 'The key is neither a quoted string nor a bare token of 1 to 255.');
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return btoa(String.fromCharCode(...new Uint8Array(digest)));
}
