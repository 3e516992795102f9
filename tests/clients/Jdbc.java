// The JDBC driver against a server or a proxy: server-prepared statements, batches, fetch size, isolation, COPY, cancel.
//
//   java -cp /usr/share/java/postgresql.jar Jdbc.java
//
// Where to connect comes from libpq's environment (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE). Each check
// prints its name; any failure makes the exit code 1.
import java.io.ByteArrayInputStream;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

public class Jdbc {
  interface Check {
    void run() throws Exception;
  }

  static String env(String name, String otherwise) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? otherwise : value;
  }

  static Connection connect(String... options) throws SQLException {
    Properties properties = new Properties();
    properties.setProperty("user", env("PGUSER", "app"));
    properties.setProperty("password", env("PGPASSWORD", ""));
    properties.setProperty("sslmode", env("PGSSLMODE", "disable"));
    properties.setProperty("connectTimeout", "10");
    for (int i = 0; i < options.length; i += 2) properties.setProperty(options[i], options[i + 1]);
    return DriverManager.getConnection("jdbc:postgresql://" + env("PGHOST", "127.0.0.1") + ":" + env("PGPORT", "5432")
        + "/" + env("PGDATABASE", "app"), properties);
  }

  static void equal(Object got, Object wanted) {
    if (!wanted.equals(got)) throw new AssertionError("got " + got + ", not " + wanted);
  }

  static String one(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
      rows.next();
      return rows.getString(1);
    }
  }

  static void run(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      statement.execute(sql);
    }
  }

  static String stateOf(Check check) throws Exception {
    try {
      check.run();
    } catch (SQLException error) {
      return String.valueOf(error.getSQLState());
    }
    return "no error";
  }

  static void serverPreparedStatements() throws Exception {
    List<Connection> connections = new ArrayList<>();
    try {
      // With assumeMinServerVersion the driver sends its settings in the start-up packet instead of SET statements, which
      // would keep a server for each connection: six connections on four servers, used by one thread.
      for (int i = 0; i < 6; ++i) connections.add(connect("prepareThreshold", "2", "assumeMinServerVersion", "9.0"));
      List<PreparedStatement> statements = new ArrayList<>();
      for (int i = 0; i < 6; ++i) statements.add(connections.get(i).prepareStatement("SELECT ?::int + " + i));
      for (int turn = 0; turn < 20; ++turn) {
        for (int i = 0; i < 6; ++i) {  // all of them are S_1 to their server
          statements.get(i).setInt(1, turn);
          try (ResultSet rows = statements.get(i).executeQuery()) {
            rows.next();
            equal(rows.getInt(1), turn + i);
          }
        }
      }
    } finally {
      for (Connection connection : connections) connection.close();
    }
  }

  static void batchesAndGeneratedKeys() throws Exception {
    for (String rewrite : new String[] {"false", "true"}) {
      try (Connection connection = connect("reWriteBatchedInserts", rewrite)) {
        run(connection, "CREATE TEMP TABLE batched (id serial PRIMARY KEY, x int, note text)");
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO batched (x, note) VALUES (?, ?)")) {
          for (int i = 0; i < 3000; ++i) {
            statement.setInt(1, i);
            statement.setString(2, "note " + i);
            statement.addBatch();
          }
          equal(statement.executeBatch().length, 3000);
        }
        equal(one(connection, "SELECT sum(x) FROM batched"), "4498500");
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO batched (x) VALUES (1)", Statement.RETURN_GENERATED_KEYS)) {
          statement.executeUpdate();
          try (ResultSet keys = statement.getGeneratedKeys()) {
            keys.next();
            equal(keys.getInt(1), 3001);
          }
        }
      }
    }
  }

  static void aFailingBatchSaysWhere() throws Exception {
    try (Connection connection = connect()) {
      run(connection, "CREATE TEMP TABLE batched (id int PRIMARY KEY)");
      equal(stateOf(() -> {
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO batched VALUES (?)")) {
          for (int i : new int[] {1, 2, 2, 3}) {
            statement.setInt(1, i);
            statement.addBatch();
          }
          statement.executeBatch();
        }
      }), "23505");
      equal(one(connection, "SELECT 1"), "1");
    }
  }

  static void fetchSizeStreams() throws Exception {
    try (Connection connection = connect()) {
      connection.setAutoCommit(false);
      try (Statement statement = connection.createStatement()) {
        statement.setFetchSize(100);  // a portal, executed a hundred rows at a time over many Syncs
        long sum = 0;
        try (ResultSet rows = statement.executeQuery("SELECT generate_series(1, 10000)")) {
          while (rows.next()) sum += rows.getInt(1);
        }
        equal(sum, 50005000L);
      }
      connection.commit();
    }
  }

  static void isolationAndReadOnlyStayWithTheirConnection() throws Exception {
    try (Connection one = connect(); Connection two = connect()) {
      one.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
      one.setReadOnly(true);
      one.setAutoCommit(false);
      equal(one(one, "SHOW transaction_isolation"), "serializable");
      equal(stateOf(() -> run(one, "CREATE TABLE jdbc_never (x int)")), "25006");
      one.rollback();
      equal(one(two, "SHOW transaction_isolation"), "read committed");
      equal(one(two, "SHOW transaction_read_only"), "off");
    }
  }

  static void startParametersHold() throws Exception {
    try (Connection connection = connect("currentSchema", "pg_catalog", "ApplicationName", "jdbc check", "options", "-c statement_timeout=4321")) {
      equal(one(connection, "SHOW search_path"), "pg_catalog");
      equal(one(connection, "SHOW application_name"), "jdbc check");
      run(connection, "SET statement_timeout = 1");
      run(connection, "RESET ALL");
      equal(one(connection, "SHOW statement_timeout"), "4321ms");
    }
  }

  static void savepointsRollBack() throws Exception {
    try (Connection connection = connect("autosave", "always")) {
      connection.setAutoCommit(false);
      run(connection, "CREATE TEMP TABLE saved (id int PRIMARY KEY)");
      run(connection, "INSERT INTO saved VALUES (1)");
      equal(stateOf(() -> run(connection, "INSERT INTO saved VALUES (1)")), "23505");
      run(connection, "INSERT INTO saved VALUES (2)");  // autosave took the failure back
      connection.commit();
      equal(one(connection, "SELECT count(*) FROM saved"), "2");
      connection.rollback();
    }
  }

  static void aTableChangesUnderAPreparedStatement() throws Exception {
    try (Connection connection = connect("prepareThreshold", "1"); Connection other = connect()) {
      run(other, "DROP TABLE IF EXISTS jdbc_changed");
      run(other, "CREATE TABLE jdbc_changed AS SELECT 1 AS a");
      try (PreparedStatement statement = connection.prepareStatement("SELECT * FROM jdbc_changed")) {
        for (int i = 0; i < 3; ++i) statement.executeQuery().close();
        run(other, "ALTER TABLE jdbc_changed ADD COLUMN b int DEFAULT 2");
        try (ResultSet rows = statement.executeQuery()) {  // outside a transaction the driver prepares anew by itself
          rows.next();
          equal(rows.getInt("b"), 2);
        }
      }
      run(other, "DROP TABLE jdbc_changed");
    }
  }

  static void copyGoesBothWays() throws Exception {
    try (Connection connection = connect()) {
      run(connection, "CREATE TEMP TABLE copied (id int, note text)");
      StringBuilder text = new StringBuilder();
      for (int i = 0; i < 5000; ++i) text.append(i).append("\trow ").append(i).append('\n');
      var copy = connection.unwrap(PGConnection.class).getCopyAPI();
      equal(copy.copyIn("COPY copied FROM STDIN", new ByteArrayInputStream(text.toString().getBytes(StandardCharsets.UTF_8))), 5000L);
      StringWriter out = new StringWriter();
      copy.copyOut("COPY (SELECT * FROM copied ORDER BY id) TO STDOUT", out);
      equal(out.toString(), text.toString());
    }
  }

  static void queryTimeoutCancels() throws Exception {
    try (Connection connection = connect(); Statement statement = connection.createStatement()) {
      statement.setQueryTimeout(1);
      equal(stateOf(() -> statement.execute("SELECT pg_sleep(20)")), "57014");
      equal(one(connection, "SELECT 1"), "1");
    }
  }

  static void notificationsArrive() throws Exception {
    try (Connection listener = connect(); Connection sender = connect()) {
      run(listener, "LISTEN jdbc_news");
      run(sender, "NOTIFY jdbc_news, 'hello'");
      PGNotification[] got = listener.unwrap(PGConnection.class).getNotifications(10000);
      equal(got == null ? 0 : got.length, 1);
      equal(got[0].getParameter(), "hello");
    }
  }

  static void metadataIsThere() throws Exception {
    try (Connection connection = connect()) {
      run(connection, "CREATE TEMP TABLE described (id int PRIMARY KEY, note text)");
      List<String> columns = new ArrayList<>();
      try (ResultSet rows = connection.getMetaData().getColumns(null, null, "described", null)) {
        while (rows.next()) columns.add(rows.getString("COLUMN_NAME") + " " + rows.getString("TYPE_NAME"));
      }
      equal(columns, List.of("id int4", "note text"));
      equal(connection.isValid(5), true);
    }
  }

  static void aWrongPasswordIs28P01() throws Exception {
    if (System.getenv("HOLDFAST_TRUST") != null) return;
    equal(stateOf(() -> connect("password", "surely wrong").close()), "28P01");
  }

  public static void main(String[] arguments) {
    Map<String, Check> checks = new LinkedHashMap<>();
    checks.put("server_prepared_statements_of_neighbours_do_not_mix", Jdbc::serverPreparedStatements);
    checks.put("batches_and_generated_keys", Jdbc::batchesAndGeneratedKeys);
    checks.put("a_failing_batch_has_its_sqlstate", Jdbc::aFailingBatchSaysWhere);
    checks.put("fetch_size_streams", Jdbc::fetchSizeStreams);
    checks.put("isolation_and_read_only_stay_with_their_connection", Jdbc::isolationAndReadOnlyStayWithTheirConnection);
    checks.put("start_parameters_hold", Jdbc::startParametersHold);
    checks.put("autosave_takes_failures_back", Jdbc::savepointsRollBack);
    checks.put("a_table_changes_under_a_prepared_statement", Jdbc::aTableChangesUnderAPreparedStatement);
    checks.put("copy_goes_both_ways", Jdbc::copyGoesBothWays);
    checks.put("query_timeout_cancels", Jdbc::queryTimeoutCancels);
    checks.put("notifications_arrive", Jdbc::notificationsArrive);
    checks.put("metadata_is_there", Jdbc::metadataIsThere);
    checks.put("a_wrong_password_is_28P01", Jdbc::aWrongPasswordIs28P01);
    int failures = 0;
    for (Map.Entry<String, Check> check : checks.entrySet()) {
      try {
        check.getValue().run();
        System.out.println("ok     " + check.getKey());
      } catch (Exception | AssertionError error) {
        ++failures;
        System.out.println("FAILED " + check.getKey());
        error.printStackTrace(System.out);
      }
    }
    System.exit(failures == 0 ? 0 : 1);
  }
}
