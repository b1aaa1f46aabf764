// Each iteration logs in with its own row of a CSV file.
import http from 'k6/http';
import exec from 'k6/execution';
import { SharedArray } from 'k6/data';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';

const shoppers = new SharedArray('shoppers', function () {
  const [header, ...lines] = open('../scenarios/data/shoppers.csv').trim().split('\n');
  const names = header.split(',');
  return lines.map((line) => Object.fromEntries(line.split(',').map((cell, i) => [names[i], cell])));
});

export const options = { vus: 4, iterations: 20 };

export default function () {
  const shopper = shoppers[exec.scenario.iterationInTest];
  const who = JSON.stringify({ email: shopper.email, password: shopper.password });
  http.post(`${BASE}/login`, who, { headers: { 'Content-Type': 'application/json' } });
  http.get(`${BASE}/products/${shopper.sku}`, { tags: { name: 'GET /products/{sku}' } });
}
