"""`user.httpx`: httpx's API over our connections; and the stock httpx client, `Plan(client="httpx")`."""
