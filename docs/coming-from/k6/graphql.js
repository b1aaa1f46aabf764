// A GraphQL mutation whose errors come with status 200.
import http from 'k6/http';
import { check, fail } from 'k6';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const CREATE = 'mutation CreateImport($name: String!) { createImport(name: $name) { id uploadUrl } }';

export const options = { vus: 4, iterations: 20 };

export default function () {
  const query = JSON.stringify({ query: CREATE, variables: { name: 'photos' } });
  const params = { headers: { 'Content-Type': 'application/json' }, tags: { name: 'gql CreateImport' } };
  const reply = http.post(`${BASE}/graphql`, query, params);
  if (!check(reply, { 'no errors': (r) => !r.json('errors') })) {
    fail('gql errors');
  }
}
