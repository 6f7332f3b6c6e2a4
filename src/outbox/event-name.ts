import * as z from 'zod/mini';
import { lazy } from '../fields.ts';

/** The type of an event: lower-case words joined by dots, such as `invoice.paid`. */
export const eventName = lazy(() =>
  z
    .string()
    .check(
      z.maxLength(100, 'must be at most 100 characters'),
      z.regex(/^[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)*$/, 'must be lower-case words joined by dots, such as invoice.paid'),
    ),
);
