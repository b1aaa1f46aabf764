// Time parts of an iteration by name.
import http from 'k6/http';
import { group } from 'k6';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';

export const options = { vus: 4, iterations: 20 };

export default function () {
  group('browse', function () {
    http.get(`${BASE}/`);
    http.get(`${BASE}/products`);
  });
  group('find', function () {
    http.get(`${BASE}/search?q=oak`, { tags: { name: 'GET /search' } });
  });
}
