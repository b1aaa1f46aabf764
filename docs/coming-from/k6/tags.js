// One row for all products, and rows split by a property.
import http from 'k6/http';
import exec from 'k6/execution';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';

export const options = { vus: 4, iterations: 20, tags: { service: 'shop' } };

export default function () {
  const sku = `sku-00${10 + exec.scenario.iterationInTest}`;
  http.get(`${BASE}/products/${sku}`, { tags: { name: 'GET /products/{sku}' } });
  const found = http.get(`${BASE}/search?q=mug`, { tags: { name: 'GET /search', kind: 'first' } });
  http.get(`${BASE}/search?q=${found.json('hits.0.name').split(' ')[0]}`, { tags: { name: 'GET /search', kind: 'more' } });
}
