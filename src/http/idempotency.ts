import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { AppError } from '../errors.ts';
import type { ReservationRow, ReservationValues } from '../idempotency/reserve-key.ts';
import { json, jsonText, setHeader } from './answer.ts';
import type { Ctx } from './context.ts';

/** A response that can be stored and replayed. It is known before the write, because the app sets ids and times. */
export type Answer<T, S extends ContentfulStatusCode> = { status: S; headers: Record<string, string>; body: T };

/** A reservation, and the response if it is known before the write. `text` is its body. */
export type Reservation<T, S extends ContentfulStatusCode> = ReservationValues & {
  readonly own: (Answer<T, S> & { text: string }) | undefined;
};

/**
 * Prepares the reservation of the request's Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07) for the
 * statement that makes the change. `input` is the validated body, which a retry must repeat. Omit `answer` if the
 * statement itself creates the response. Pass the key of a form, which sends no header, as `header`. Throws AppError
 * `invalid-idempotency-key`.
 */
export function reservationOf<T, S extends ContentfulStatusCode>(
  c: Ctx,
  input: unknown,
  answer?: Answer<T, S>,
  header = c.req.header('Idempotency-Key'),
): Reservation<T, S> {
  const own = answer && { ...answer, text: JSON.stringify(answer.body) };
  return {
    keySubject: c.get('principal').sub,
    // In a known path, only ids may differ in case.
    keyRoute: `${c.req.method} ${c.req.path.toLowerCase()}`,
    key: header === undefined ? null : parseKey(header),
    keyInput: header === undefined ? '' : JSON.stringify(input),
    keyHolder: crypto.randomUUID(),
    // The same as JSON.stringify of the whole, without serializing the body twice.
    keyResponse: own ? `{"status":${own.status},"headers":${JSON.stringify(own.headers)},"body":${own.text}}` : 'null',
    own,
  };
}

/**
 * Sends the response of this request, or replays that of the first request with the same key. `reveal` turns a stored
 * body into the one that clients get, if they differ. Throws AppError `idempotency-key-reused`.
 */
export async function answerWith<T, S extends ContentfulStatusCode>(
  c: Ctx,
  reservation: Reservation<T, S>,
  row: ReservationRow,
  reveal?: (body: T) => Promise<T>,
) {
  const own = row.same && row.fresh ? reservation.own : undefined;
  const { status, headers, body } = own ?? storedAnswer<T, S>(row);
  if (!row.fresh) setHeader(c, 'Idempotent-Replayed', 'true');
  for (const [name, value] of Object.entries(headers)) setHeader(c, name, value);
  if (own && !reveal) return jsonText<T, S>(c, own.text, status);
  return json(c, reveal ? await reveal(body) : body, status);
}

/** Returns the stored response. Throws AppError `idempotency-key-reused`. */
export function storedAnswer<T, S extends ContentfulStatusCode>({ same, response }: ReservationRow): Answer<T, S> {
  if (same) return JSON.parse(response) as Answer<T, S>;
  throw new AppError('idempotency-key-reused', 'The Idempotency-Key was used with a different payload.');
}

/** Parses a Structured Field String or a bare token. Throws AppError `invalid-idempotency-key`. */
export function parseKey(header: string): string {
  if (/^[A-Za-z0-9._~:-]{1,255}$/.test(header)) return header;
  const quoted = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/.exec(header)?.[1]?.replace(/\\(["\\])/g, '$1');
  if (quoted && quoted.length <= 255) return quoted;
  throw new AppError(
    'invalid-idempotency-key',
    'The key must be a quoted string or a bare token of 1 to 255 characters.',
  );
}
