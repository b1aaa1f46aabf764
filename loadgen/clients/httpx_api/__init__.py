"""httpx's API over our connections (`user.httpx`), and the stock httpx client (`Plan(client="httpx")`) to check ours."""
