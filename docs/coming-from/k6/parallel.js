// Several requests at once, as a browser sends them.
import http from 'k6/http';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';

export const options = { vus: 4, iterations: 20 };

export default function () {
  http.get(`${BASE}/`);
  http.batch([
    ['GET', `${BASE}/products`],
    ['GET', `${BASE}/search?q=oak`, null, { tags: { name: 'GET /search' } }],
  ]);
}
