node { zone = "rack-2" }
driver "region" { dir = "/srv/regions" }
