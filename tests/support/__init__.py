"""What tests share: servers, daemons, waiting, and the search for what was left behind."""
