import { v7 as uuidv7 } from 'uuid';
import type { Ctx } from './context.ts';
import { etagOf } from './etag.ts';
import type { Answer } from './idempotency.ts';

/** A new resource: its input with an id, version 1 and times. Responses have the members in this order. */
export function newRow<T extends object>(c: Ctx, input: T) {
  const now = c.env.now().toISOString();
  return { id: uuidv7(), ...input, version: 1, createdAt: now, updatedAt: now };
}

/** The response of a POST that created `row`: 201 with its path and ETag. */
export function created<T extends { id: string; version: number }>(c: Ctx, row: T): Answer<T, 201> {
  return { status: 201, headers: { Location: `${c.req.path}/${row.id}`, ETag: etagOf(row.version) }, body: row };
}
