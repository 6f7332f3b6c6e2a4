/** For `createDatabase`: a database in whose language I is not the upper case of i. */
export const TURKISH = `template template0 encoding 'UTF8' locale 'C' locale_provider icu icu_locale 'tr-TR'`;
