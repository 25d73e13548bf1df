"""Training crops and benchmark images."""
