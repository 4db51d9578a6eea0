cluster { id = "prod" }
node {
  id = "../../etc"
}
