// Count orders, measure prices, and the share of searches that the cache answers.
import http from 'k6/http';
import { Counter, Rate, Trend } from 'k6/metrics';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const found = new Counter('found_products');
const price = new Trend('price');
const cached = new Rate('searches_from_the_cache');

export const options = { vus: 4, iterations: 20 };

export default function () {
  const reply = http.get(`${BASE}/search?q=oak`, { tags: { name: 'GET /search' } });
  const hits = reply.json('hits');
  found.add(hits.length);
  price.add(hits[0].price_cents / 100);
  cached.add(reply.headers['X-Cache'] === 'hit');
}
