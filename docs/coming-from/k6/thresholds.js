// Fail the run when it is too slow or has too many errors.
import http from 'k6/http';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';

export const options = {
  vus: 4,
  iterations: 20,
  thresholds: {
    'http_req_duration{name:GET /products/{sku}}': ['p(95)<5000'],
    http_req_failed: ['rate<0.01'],
  },
};

export default function () {
  http.get(`${BASE}/products/sku-0001`, { tags: { name: 'GET /products/{sku}' } });
}
