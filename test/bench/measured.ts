// The resource on which routes are measured. http.sql creates its rows; http.json describes it to other harnesses.

/** Its name in prose, its path, its table, and the event of its creation. */
export const NAME = 'users';
export const PATH = '/api/v1/users';
export const TABLE = 'users';
export const EVENT = 'user.created';
/** What POST takes, and the status of its response. */
export const BODY = '{"email":"{unique}@bench.test","name":"Bench User"}';
export const MADE = 201;
/** The names of its routes. */
export const READ = 'GET /users/{id}';
export const LIST = 'GET /users';
export const CREATE = 'POST /users';
