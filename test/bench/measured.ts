// The resource that routes are measured on. Its rows are made by http.sql; other harnesses read of it in http.json.

/** In words; in a path, a table, and the event of its creation. */
export const NAME = 'users';
export const PATH = '/api/v1/users';
export const TABLE = 'users';
export const EVENT = 'user.created';
/** What POST takes, and how it is answered. */
export const BODY = '{"email":"{unique}@bench.test","name":"Bench User"}';
export const MADE = 201;
/** What its routes are called. */
export const READ = 'GET /users/{id}';
export const LIST = 'GET /users';
export const CREATE = 'POST /users';
