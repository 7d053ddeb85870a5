/* reach: calls the function that is named, which is out of reach, with errors returned if a second argument says so. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    char port[MPI_MAX_PORT_NAME] = "";
    int code = MPI_SUCCESS, class;
    MPI_Comm other, parent;
    MPI_Init(&argc, &argv);
    if (argc < 2)
        return 1;
    MPI_Comm_get_parent(&parent);
    if (parent != MPI_COMM_NULL)
        return 1;
    if (argc > 2) {
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
        MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    }
    if (strcmp(argv[1], "MPI_Comm_spawn") == 0)
        code = MPI_Comm_spawn("true", MPI_ARGV_NULL, 1, MPI_INFO_NULL, 0, MPI_COMM_WORLD, &other, MPI_ERRCODES_IGNORE);
    if (strcmp(argv[1], "MPI_Open_port") == 0)
        code = MPI_Open_port(MPI_INFO_NULL, port);
    if (strcmp(argv[1], "MPI_Comm_connect") == 0)
        code = MPI_Comm_connect("port", MPI_INFO_NULL, 0, MPI_COMM_WORLD, &other);
    if (strcmp(argv[1], "MPI_Lookup_name") == 0)
        code = MPI_Lookup_name("name", MPI_INFO_NULL, port);
    MPI_Error_class(code, &class);
    printf("%s\n", class == MPI_ERR_SPAWN ? "spawn" : class == MPI_ERR_PORT ? "port" : class == MPI_ERR_NAME ? "name" : "?");
    MPI_Finalize();
    return 0;
}
