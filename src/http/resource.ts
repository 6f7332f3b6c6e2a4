import type * as z from 'zod/mini';
import type { ErrorCode } from '../errors.ts';

/** Created on first use: see `lazy`. */
export type Schema = () => z.core.$ZodType;

/** The problem of a write that violates a database constraint: 409, or 422 for a missing parent. */
export type Constraint = {
  detail: string;
  /** Default: `conflict`. */
  code?: ErrorCode;
  /** The invalid member of the body. */
  pointer?: string;
  /** What is wrong with that member. Default: `is already taken`. A foreign key has a text of its own. */
  error?: string;
  /** For a foreign key: the name of the resource that it refers to. */
  parent?: string;
};

/** Declares a resource. Its operations, tag, scopes, events and problems in the OpenAPI document follow from it. */
export type Resource = {
  /** Its name in its view and its operations, such as `WebhookEndpoint`. `plural` defaults to the name plus `s`. */
  name: string;
  plural?: string;
  description: string;
  scopes: { read: string; write: string };
  view: Schema;
  /** Events for subscribed endpoints, by type. `data` defaults to the view. */
  events?: Record<string, { description: string; data?: Schema }>;
  /** By the constraint's name in Postgres. */
  constraints?: Record<string, Constraint>;
};

/** `WebhookEndpoints` */
export const pluralOf = ({ name, plural }: Resource): string => plural ?? `${name}s`;
/** `webhook endpoints` */
export const words = (name: string): string => name.replace(/(?<=.)[A-Z]/g, ' $&').toLowerCase();
/** `a team`, `an invoice` */
export const withArticle = (noun: string): string => `${/^[aeio]/.test(noun) ? 'an' : 'a'} ${noun}`;
/** `a webhook endpoint` */
export const one = ({ name }: Resource): string => withArticle(words(name));
