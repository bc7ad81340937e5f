"""How a change travels: compared, published, routed, delivered."""
