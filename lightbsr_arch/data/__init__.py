"""Training crops and benchmark images."""
from ..basicsr_compat import prepare_import

prepare_import()  # a spawned loading process begins here
