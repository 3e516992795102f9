// The JDBC driver behind a proxy whose server is lost; as psycopg_losses.py.
//
//   java -cp /usr/share/java/postgresql.jar JdbcLosses.java
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyIn;

public class JdbcLosses {
  interface Check {
    void run(Connection connection) throws Exception;
  }
  interface Work {
    void run() throws SQLException;
  }

  static Connection connect() throws SQLException {
    Properties properties = new Properties();
    properties.setProperty("user", System.getenv("PGUSER"));
    properties.setProperty("password", System.getenv("PGPASSWORD"));
    properties.setProperty("sslmode", "disable");
    properties.setProperty("assumeMinServerVersion", "9.0");  // no SET behind the log-in, which would pin
    return DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + System.getenv("PGPORT") + "/app", properties);
  }

  static void lose() throws Exception {
    File file = new File(System.getenv("HOLDFAST_LOSE"), "lose");
    file.createNewFile();
    while (file.exists()) Thread.sleep(10);
  }

  static void run(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      statement.execute(sql);
    }
  }

  static int number(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
      rows.next();
      return rows.getInt(1);
    }
  }

  static int rows(Connection connection, int value) throws SQLException {
    return number(connection, "SELECT count(*) FROM kept WHERE a = " + value);
  }

  static String stateOf(Work work) {
    try {
      work.run();
    } catch (SQLException error) {
      return error.getSQLState();
    }
    return "no error";
  }

  static void equal(Object got, Object wanted) {
    if (!wanted.equals(got)) throw new AssertionError("got " + got + ", not " + wanted);
  }

  static void idle(Connection connection) throws Exception {
    equal(number(connection, "SELECT 1"), 1);
    lose();
    equal(number(connection, "SELECT 2"), 2);
  }

  static void inABlock(Connection connection) throws Exception {
    connection.setAutoCommit(false);
    run(connection, "INSERT INTO kept VALUES (1)");
    lose();
    equal(stateOf(() -> number(connection, "SELECT 1")), "40001");
    equal(stateOf(() -> number(connection, "SELECT 1")), "25P02");
    connection.rollback();
    equal(rows(connection, 1), 0);
  }

  static void inABlockThatIsCommitted(Connection connection) throws Exception {
    connection.setAutoCommit(false);
    run(connection, "INSERT INTO kept VALUES (2)");
    lose();
    equal(stateOf(connection::commit), "40001");
    connection.rollback();
    equal(rows(connection, 2), 0);
  }

  static void inABatchInFlight(Connection connection) throws Exception {
    try (Connection other = connect()) {
      CompletableFuture<String> write = CompletableFuture.supplyAsync(() -> stateOf(() -> {
        try (PreparedStatement statement =
                 connection.prepareStatement("INSERT INTO kept SELECT ?::int FROM pg_sleep(300)")) {
          for (int i = 0; i < 3; ++i) {
            statement.setInt(1, 3);
            statement.addBatch();
          }
          statement.executeBatch();
        }
      }));
      while (number(other, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == 0) Thread.sleep(10);
      lose();
      equal(write.get(), "08007");
      equal(rows(connection, 3), 0);
    }
  }

  static void inACopy(Connection connection) throws Exception {
    CopyIn copy = connection.unwrap(PGConnection.class).getCopyAPI().copyIn("COPY kept FROM STDIN");
    byte[] row = "4\n".getBytes(StandardCharsets.UTF_8);
    copy.writeToCopy(row, 0, row.length);
    copy.flushCopy();
    lose();
    equal(stateOf(() -> {
      copy.writeToCopy(row, 0, row.length);
      copy.endCopy();
    }), "40001");
    equal(rows(connection, 4), 0);
  }

  static int check(String name, Check check) {
    try (Connection connection = connect()) {
      check.run(connection);
      System.out.println("ok     " + name);
      return 0;
    } catch (Throwable error) {
      System.out.println("FAILED " + name);
      error.printStackTrace(System.out);
      return 1;
    }
  }

  public static void main(String[] arguments) {
    int failures = check("idle", JdbcLosses::idle) + check("inABlock", JdbcLosses::inABlock)
        + check("inABlockThatIsCommitted", JdbcLosses::inABlockThatIsCommitted)
        + check("inABatchInFlight", JdbcLosses::inABatchInFlight) + check("inACopy", JdbcLosses::inACopy);
    System.exit(failures == 0 ? 0 : 1);
  }
}
