// Count how often an answer is what it should be, and go on.
import http from 'k6/http';
import { check } from 'k6';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';

export const options = { vus: 4, iterations: 20 };

export default function () {
  const found = http.get(`${BASE}/search?q=oak`, { tags: { name: 'GET /search' } });
  check(found, {
    'is 200': (r) => r.status === 200,
    'finds something': (r) => r.json('hits').length > 0,
  });
}
